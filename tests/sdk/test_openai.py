"""The official OpenAI client, unmodified but for `base_url`, against the simulated API."""

import asyncio
import json

import openai
import pytest

MOCK = {"base_url": "mock:", "mock": {"latency_s": 0, "tokens": 3}}
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}]}
FAILS_FAST = {"retry": {"max_attempts": 2, "backoff_s": 0.001}}


@pytest.fixture
def open_mock(gateway):
    return lambda **more: gateway(upstreams={"openai": {**MOCK, **more}})


def client(gw, **said):
    return openai.OpenAI(base_url=f"{gw.url}/v1", api_key="sk-client", **said)


def async_client(gw, **said):
    return openai.AsyncOpenAI(base_url=f"{gw.url}/v1", api_key="sk-client", **said)


def mock(words):
    return {"extra_headers": {"x-mock": words}}


async def test_the_synchronous_client_gets_every_kind_of_answer(open_mock):
    def use(gw):
        with client(gw) as api:
            chat = api.chat.completions.create(**ASKED)
            with api.chat.completions.create(**ASKED, stream=True) as stream:
                words = [c.choices[0].delta.content for c in stream if c.choices]
            response = api.responses.create(model="gpt-4o", input="Why?")
            events = list(api.responses.create(model="gpt-4o", input="Why?", stream=True))
            embedding = api.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
            models = list(api.models.list())
        return chat, words, response, events, embedding, models

    async with open_mock() as gw:
        chat, words, response, events, embedding, models = await asyncio.to_thread(use, gw)
        calls = await gw.calls(order="asc")

    text = chat.choices[0].message.content
    assert len(text.split()) == 3
    assert "".join(word or "" for word in words) == text
    assert chat.usage.completion_tokens == 3
    assert response.output_text == text
    assert events[-1].type == "response.completed"
    assert [datum.index for datum in embedding.data] == [0, 1]
    assert models
    assert [(call["path"].removeprefix("/v1/"), call["stream"]) for call in calls] == [
        ("chat/completions", False),
        ("chat/completions", True),
        ("responses", False),
        ("responses", True),
        ("embeddings", False),
        ("models", False),
    ]
    assert {(call["status"], call["client_gone"]) for call in calls} == {("succeeded", False)}
    assert calls[0]["usage"]["output_tokens"] == calls[2]["usage"]["output_tokens"] == 3


async def test_the_asynchronous_client_does_too_and_many_at_once(open_mock):
    async with open_mock() as gw, async_client(gw) as api:
        chats = await asyncio.gather(*(api.chat.completions.create(**ASKED) for _ in range(20)))
        async with api.chat.completions.stream(**ASKED) as stream:
            completion = await stream.get_final_completion()
        async with api.responses.stream(model="gpt-4o", input="Why?") as events:
            response = await events.get_final_response()
        calls = await gw.calls()

    texts = {chat.choices[0].message.content for chat in chats}
    assert texts == {completion.choices[0].message.content, response.output_text} == texts
    assert len({chat.id for chat in chats}) == 20
    assert {(call["status"], call["client_gone"]) for call in calls} == {("succeeded", False)}
    assert len(calls) == 22


async def test_headers_of_the_answer_reach_the_caller(open_mock):
    async with open_mock() as gw, async_client(gw) as api:
        raw = await api.chat.completions.with_raw_response.create(**ASKED)
        call = await gw.call(raw.headers["x-gateway-call-id"])

    assert raw.parse().choices
    assert call["status"] == "succeeded"
    assert "sk-client" not in json.dumps(call)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_errors_raise_the_clients_own_classes_without_its_retries(open_mock, status, error):
    """The gateway has tried; `x-should-retry: false` keeps the client from multiplying that."""
    async with open_mock(**FAILS_FAST) as gw, async_client(gw, max_retries=2) as api:
        with pytest.raises(error) as caught:
            await api.chat.completions.create(**ASKED, **mock(f"status={status}, retry_after_s=0"))
        (call,) = await gw.calls(expand="all")

    assert caught.value.status_code == status
    assert caught.value.body["message"]
    assert len(call["attempts"]) == (2 if status in (429, 500, 503) else 1)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("fault=reset", 502, "upstream_broken"),
        ("fault=cut", 502, "upstream_broken"),
        ("fault=hang", 504, "first_byte_timeout"),
    ],
)
async def test_the_gateways_own_errors_read_like_the_providers(open_mock, fault, status, code):
    table = {**FAILS_FAST, "timeouts": {"first_byte_s": 0.05, "idle_s": 0.05}}
    async with open_mock(**table) as gw, async_client(gw, max_retries=2) as api:
        with pytest.raises(openai.InternalServerError) as caught:
            await api.chat.completions.create(**ASKED, **mock(fault))
        calls = await gw.calls(expand="all")

    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert [len(call["attempts"]) for call in calls] == [2]


async def test_a_broken_stream_raises_instead_of_ending_early(open_mock):
    async with open_mock() as gw, async_client(gw) as api:
        stream = await api.chat.completions.create(**ASKED, **mock("fault=cut"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass

    assert caught.value.code == "upstream_broken"


async def test_a_client_that_loses_patience_raises_and_its_call_is_finished(open_mock):
    async with open_mock() as gw, async_client(gw, max_retries=0, timeout=0.2) as api:
        with pytest.raises(openai.APITimeoutError):
            await api.chat.completions.create(**ASKED, **mock("latency_s=0.4"))
        (call,) = await gw.calls()
        call = await gw.final(call["id"])

    assert (call["status"], call["client_gone"]) == ("succeeded", True)


async def test_an_upstreams_hiccup_is_invisible_to_the_client(gateway, upstream):
    """No `mock:` here: the first two answers are refusals, and the client never learns."""
    from tests.steps import Answer

    body = b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}'
    upstream.script = [503, 429, Answer(body=body)]
    async with gateway() as gw, async_client(gw) as api:
        chat = await api.chat.completions.create(**ASKED)

    assert (chat.id, upstream.hits) == ("c", 3)
    assert {request.header("authorization") for request in upstream.requests} == {
        "Bearer sk-client"
    }
    assert {request.header("x-stainless-retry-count") for request in upstream.requests} == {"0"}
