"""The official OpenAI client, unmodified, against the simulated API."""

import asyncio
import math

import openai
import pytest

ASKED = [{"role": "user", "content": "how long is a wait?"}]  # 19 characters
WORDS = "the gateway waits"


@pytest.fixture
def client():
    """Return `client(api)`: the asynchronous client, without retries of its own."""

    def make(api, **options):
        return openai.AsyncOpenAI(
            base_url=f"{api.url}/v1", api_key="any", **{"max_retries": 0, **options}
        )

    return make


async def test_a_chat_completion_is_as_long_as_asked(mock, client):
    async with mock(tokens=3) as api, client(api) as sdk:
        answer = await sdk.chat.completions.create(model="gpt-x", messages=ASKED)

    assert answer.model == "gpt-x"
    assert answer.id.startswith("chatcmpl-")
    assert answer.created == 1_800_000_000
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.model_dump(
        include={"prompt_tokens", "completion_tokens", "total_tokens"}
    ) == {
        "prompt_tokens": 4,
        "completion_tokens": 3,
        "total_tokens": 7,
    }


@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_streamed_chat_is_the_same_text_and_usage_only_where_asked(
    mock, client, with_usage
):
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    async with mock(tokens=3) as api, client(api) as sdk:
        stream = await sdk.chat.completions.create(
            model="gpt-x", messages=ASKED, stream=True, **options
        )
        chunks = [chunk async for chunk in stream]

    spoken = [chunk for chunk in chunks if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == WORDS
    assert spoken[0].choices[0].delta.role == "assistant"
    assert spoken[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [7] * with_usage


async def test_a_stream_ends_with_done(mock):
    async with mock() as api:
        answer = await api.ask(stream=True)

    assert answer.body.endswith(b"\n\ndata: [DONE]\n\n")
    assert answer.header("content-type").startswith("text/event-stream")


async def test_the_stream_helper_puts_a_chat_together(mock, client):
    async with (
        mock(tokens=3) as api,
        client(api) as sdk,
        sdk.chat.completions.stream(model="gpt-x", messages=ASKED) as stream,
    ):
        answer = await stream.get_final_completion()

    assert answer.choices[0].message.content == WORDS


async def test_a_response_has_its_text_and_usage(mock, client):
    async with mock(tokens=3) as api, client(api) as sdk:
        answer = await sdk.responses.create(model="gpt-x", input="how long is a wait?")

    assert answer.status == "completed"
    assert answer.output_text == WORDS
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 3)
    assert answer.usage.total_tokens == 7


async def test_a_streamed_response_is_every_event_in_order_and_numbered(mock, client):
    async with mock(tokens=2) as api, client(api) as sdk:
        stream = await sdk.responses.create(model="gpt-x", input="hi", stream=True, background=True)
        events = [event async for event in stream]

    assert [event.type for event in events] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events[5:7]) == events[7].text
    assert events[-1].response.output_text == events[7].text
    assert events[-1].response.usage.output_tokens == 2
    assert events[-1].response.id == events[0].response.id


async def test_only_a_background_response_is_queued(mock, client):
    async with (
        mock(tokens=2) as api,
        client(api) as sdk,
        sdk.responses.stream(model="gpt-x", input="hi") as stream,
    ):
        types = [event.type async for event in stream]
        answer = await stream.get_final_response()

    assert "response.queued" not in types
    assert answer.output_text == "the gateway"


@pytest.mark.parametrize(
    "encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}]
)
async def test_embeddings_are_unit_vectors_of_their_text(mock, client, encoding):
    async with mock() as api, client(api) as sdk:
        answer = await sdk.embeddings.create(
            model="e", input=["one", "two", "one"], dimensions=100, **encoding
        )

    one, two, again = (item.embedding for item in answer.data)
    assert [item.index for item in answer.data] == [0, 1, 2]
    if encoding != {"encoding_format": "base64"}:  # asked for by name, it stays as it came
        assert len(one) == 100
        assert math.hypot(*one) == pytest.approx(1)
    assert one == again != two
    assert answer.usage.total_tokens == 2


@pytest.mark.parametrize("asked", ["text", [1, 2, 3], [[1, 2, 3]]])
async def test_one_embedding_has_the_usual_dimensions(mock, client, asked):
    async with mock() as api, client(api) as sdk:
        answer = await sdk.embeddings.create(model="e", input=asked)

    assert [len(item.embedding) for item in answer.data] == [1536]


@pytest.mark.parametrize(
    ("said", "key"), [({"input": []}, "input"), ({"input": "a", "dimensions": 0}, "dimensions")]
)
async def test_impossible_embeddings_are_refused(mock, client, said, key):
    async with mock() as api, client(api) as sdk:
        with pytest.raises(openai.BadRequestError, match=key):
            await sdk.embeddings.create(model="e", **said)


async def test_models_are_listed_at_once_and_every_one_exists(mock, client):
    async with mock(latency_s=3600, failure_rate=1) as api, client(api) as sdk:
        listed = [model.id async for model in sdk.models.list()]
        one = await sdk.models.retrieve("team/any")

    assert "mock" in listed
    assert (one.id, one.object) == ("team/any", "model")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_errors_raise_what_the_client_has_for_them(mock, client, status, error):
    async with mock() as api, client(api, default_headers={"x-mock": f"status={status}"}) as sdk:
        with pytest.raises(error, match="simulated") as raised:
            await sdk.chat.completions.create(model="gpt-x", messages=ASKED)

    assert raised.value.request_id.startswith("req_")


@pytest.mark.parametrize("fault", ["reset", "cut"])
async def test_a_broken_connection_is_a_connection_error(mock, client, fault):
    async with mock() as api, client(api, default_headers={"x-mock": f"fault={fault}"}) as sdk:
        with pytest.raises(openai.APIConnectionError):
            await sdk.chat.completions.create(model="gpt-x", messages=ASKED)


async def test_a_hang_runs_into_the_timeout_of_the_client(mock, client):
    hangs = {"x-mock": "fault=hang"}
    async with mock() as api, client(api, default_headers=hangs, timeout=0.05) as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(model="gpt-x", messages=ASKED)


async def test_the_synchronous_client_reads_the_same(mock):
    def talk(url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as sdk:
            plain = sdk.chat.completions.create(model="gpt-x", messages=ASKED)
            chunks = list(sdk.chat.completions.create(model="gpt-x", messages=ASKED, stream=True))
            response = sdk.responses.create(model="gpt-x", input="hi")
            events = list(sdk.responses.create(model="gpt-x", input="hi", stream=True))
            vectors = sdk.embeddings.create(model="e", input="hi")
        return (
            plain.choices[0].message.content,
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
            response.output_text,
            events[-1].response.output_text,
            len(vectors.data[0].embedding),
        )

    async with mock(tokens=3) as api:
        said = await asyncio.to_thread(talk, api.url)

    assert said == (WORDS, WORDS, WORDS, WORDS, 1536)
