"""The official Anthropic client, unmodified but for `base_url`, against the simulated API."""

import asyncio

import anthropic
import pytest

MOCK = {"base_url": "mock:", "dialect": "anthropic", "mock": {"latency_s": 0, "tokens": 3}}
ASKED = {
    "model": "claude-mock",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Why?"}],
}
FAILS_FAST = {"retry": {"max_attempts": 2, "backoff_s": 0.001}}


@pytest.fixture
def open_mock(gateway):
    return lambda **more: gateway(upstreams={"anthropic": {**MOCK, **more}})


def client(gw, **said):
    return anthropic.Anthropic(base_url=gw.url, api_key="sk-client", **said)


def async_client(gw, **said):
    return anthropic.AsyncAnthropic(base_url=gw.url, api_key="sk-client", **said)


def mock(words):
    return {"extra_headers": {"x-mock": words}}


async def test_the_synchronous_client_gets_plain_and_streamed_messages(open_mock):
    def use(gw):
        with client(gw) as api:
            message = api.messages.create(**ASKED)
            events = list(api.messages.create(**ASKED, stream=True))
            with api.messages.stream(**ASKED) as stream:
                streamed = stream.get_final_message()
        return message, events, streamed

    async with open_mock() as gw:
        message, events, streamed = await asyncio.to_thread(use, gw)
        calls = await gw.calls(order="asc")

    assert len(message.content[0].text.split()) == 3
    assert events[-1].type == "message_stop"
    assert streamed.content[0].text == message.content[0].text
    assert (message.usage.output_tokens, streamed.usage.output_tokens) == (3, 3)
    assert [(call["path"], call["stream"]) for call in calls] == [
        ("/v1/messages", False),
        ("/v1/messages", True),
        ("/v1/messages", True),
    ]
    assert {(call["status"], call["client_gone"]) for call in calls} == {("succeeded", False)}
    assert [call["usage"]["output_tokens"] for call in calls] == [3, 3, 3]


async def test_the_asynchronous_client_does_too_and_many_at_once(open_mock):
    async with open_mock() as gw, async_client(gw) as api:
        messages = await asyncio.gather(*(api.messages.create(**ASKED) for _ in range(20)))
        async with api.messages.stream(**ASKED) as stream:
            streamed = await stream.get_final_message()
        calls = await gw.calls()

    assert {m.content[0].text for m in messages} == {streamed.content[0].text}
    assert {(call["status"], call["client_gone"]) for call in calls} == {("succeeded", False)}
    assert len(calls) == 21


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (409, anthropic.ConflictError),
        (422, anthropic.UnprocessableEntityError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
async def test_errors_raise_the_clients_own_classes_without_its_retries(open_mock, status, error):
    """The gateway has tried; `x-should-retry: false` keeps the client from multiplying that."""
    async with open_mock(**FAILS_FAST) as gw, async_client(gw, max_retries=2) as api:
        with pytest.raises(error) as caught:
            await api.messages.create(**ASKED, **mock(f"status={status}, retry_after_s=0"))
        (call,) = await gw.calls(expand="all")

    assert caught.value.status_code == status
    assert caught.value.body["type"] == "error"
    assert len(call["attempts"]) == (2 if status in (429, 500, 529) else 1)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("fault=reset", 502, "api_error"),
        ("fault=cut", 502, "api_error"),
        ("fault=hang", 504, "timeout_error"),
    ],
)
async def test_the_gateways_own_errors_read_like_the_providers(open_mock, fault, status, kind):
    table = {**FAILS_FAST, "timeouts": {"first_byte_s": 0.05, "idle_s": 0.05}}
    async with open_mock(**table) as gw, async_client(gw, max_retries=2) as api:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await api.messages.create(**ASKED, **mock(fault))
        calls = await gw.calls(expand="all")

    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == kind
    assert [len(call["attempts"]) for call in calls] == [2]


async def test_a_broken_stream_raises_instead_of_ending_early(open_mock):
    async with open_mock() as gw, async_client(gw) as api:
        with pytest.raises(anthropic.APIError):
            async with api.messages.stream(**ASKED, **mock("fault=cut")) as stream:
                await stream.get_final_message()


async def test_a_client_that_loses_patience_raises_and_its_call_is_finished(open_mock):
    async with open_mock() as gw, async_client(gw, max_retries=0, timeout=0.2) as api:
        with pytest.raises(anthropic.APITimeoutError):
            await api.messages.create(**ASKED, **mock("latency_s=0.4"))
        (call,) = await gw.calls()
        call = await gw.final(call["id"])

    assert (call["status"], call["client_gone"]) == ("succeeded", True)
