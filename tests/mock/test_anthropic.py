"""The official Anthropic client, unmodified, against the simulated API."""

import asyncio

import anthropic
import pytest

ASKED = [{"role": "user", "content": [{"type": "text", "text": "how long is a wait?"}]}]
WORDS = "the gateway waits"


@pytest.fixture
def client():
    """Return `client(api)`: the asynchronous client, without retries of its own."""

    def make(api, **options):
        return anthropic.AsyncAnthropic(
            base_url=api.url, api_key="any", **{"max_retries": 0, **options}
        )

    return make


async def test_a_message_is_as_long_as_asked_of_the_mock(mock, client):
    async with mock(tokens=3) as api, client(api) as sdk:
        answer = await sdk.messages.create(model="claude-x", max_tokens=1, messages=ASKED)

    assert (answer.model, answer.role, answer.stop_reason) == ("claude-x", "assistant", "end_turn")
    assert answer.content[0].text == WORDS
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 3)


async def test_a_streamed_message_is_every_event_in_order(mock, client):
    async with mock(tokens=2) as api, client(api) as sdk:
        stream = await sdk.messages.create(
            model="claude-x", max_tokens=9, messages=ASKED, stream=True
        )
        events = [event async for event in stream]

    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.usage.input_tokens == 4
    assert events[-2].usage.output_tokens == 2


async def test_a_stream_holds_a_ping(mock):
    """The client swallows it."""
    async with mock(tokens=1) as api:
        answer = await api.ask("/v1/messages", stream=True)

    assert b'event: ping\ndata: {"type":"ping"}\n\n' in answer.body
    assert b"[DONE]" not in answer.body


async def test_the_stream_helper_puts_a_message_together(mock, client):
    async with (
        mock(tokens=3) as api,
        client(api) as sdk,
        sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASKED) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        answer = await stream.get_final_message()

    assert text == answer.content[0].text == WORDS
    assert answer.usage.output_tokens == 3


async def test_tokens_are_counted_at_once(mock, client):
    async with mock(latency_s=3600) as api, client(api) as sdk:
        counted = await sdk.messages.count_tokens(
            model="claude-x", messages=ASKED, system="be short and to the point"
        )

    assert counted.input_tokens == 11


async def test_models_are_listed_in_this_dialect_too(mock, client):
    async with mock() as api, client(api) as sdk:
        listed = [model async for model in sdk.models.list()]

    assert "mock" in [model.id for model in listed]
    assert {model.type for model in listed} == {"model"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
async def test_errors_raise_what_the_client_has_for_them(mock, client, status, error):
    async with mock() as api, client(api, default_headers={"x-mock": f"status={status}"}) as sdk:
        with pytest.raises(error, match="simulated") as raised:
            await sdk.messages.create(model="claude-x", max_tokens=9, messages=ASKED)

    assert raised.value.status_code == status
    assert raised.value.request_id.startswith("req_")


async def test_the_synchronous_client_reads_the_same(mock):
    def talk(url):
        with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as sdk:
            plain = sdk.messages.create(model="claude-x", max_tokens=9, messages=ASKED)
            with sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASKED) as stream:
                return plain.content[0].text, stream.get_final_text()

    async with mock(tokens=3) as api:
        said = await asyncio.to_thread(talk, api.url)

    assert said == (WORDS, WORDS)
