"""Which upstream a request goes to, and with which path."""

import pytest

from tests.steps import Answer


@pytest.fixture
def upstreams(upstream):
    """Four upstreams at one server, told apart by the path they are configured with."""
    return {
        "openai": {"base_url": f"{upstream.url}/openai-api/v1", "models": ["gpt-*", "o*"]},
        "claude": {"base_url": f"{upstream.url}/claude-api", "dialect": "anthropic"},
        "google": {"base_url": f"{upstream.url}/google-api", "dialect": "gemini"},
        "local": {"base_url": upstream.url, "models": ["gpt-local", "hub/*"]},
    }


def model(name):
    return {"json": {"model": name, "nested": {"model": "gpt-4o"}}}


@pytest.mark.parametrize(
    ("target", "said", "arrives"),
    [
        # by name in the path: base_url + the rest
        ("/openai/chat/completions?a=1", {}, "/openai-api/v1/chat/completions?a=1"),
        ("/claude/v1/messages", {}, "/claude-api/v1/messages"),
        ("/google/v1beta/models", {}, "/google-api/v1beta/models"),
        ("/local/v1/models", {}, "/v1/models"),
        ("/local/x%2Fy", {}, "/x%2Fy"),
        # the header comes before everything
        ("/v1/x", {"headers": [("x-gateway-upstream", "claude")]}, "/claude-api/x"),
        ("/v1/x", {"headers": [("X-Gateway-Upstream", "local")]}, "/v1/x"),
        (
            "/v1/x",
            {"headers": [("x-gateway-upstream", "local")], **model("gpt-4o")},
            "/v1/x",
        ),
        # by model, in the file's order: gpt-local matches openai's glob first
        ("/v1/chat/completions", model("gpt-4o"), "/openai-api/v1/chat/completions"),
        ("/v1/chat/completions", model("gpt-local"), "/openai-api/v1/chat/completions"),
        ("/v1/chat/completions", model("hub/name"), "/v1/chat/completions"),
        ("/v1/messages", model("hub/name"), "/v1/messages"),
        ("/v1/models/hub%2Fname", {}, "/v1/models/hub%2Fname"),
        ("/v1/models/o3", {}, "/openai-api/v1/models/o3"),
        (
            "/v1beta/models/o3:generateContent",
            {},
            "/openai-api/v1/v1beta/models/o3:generateContent",
        ),
        # by dialect of the path
        ("/v1/messages", model("claude-sonnet-4-5"), "/claude-api/messages"),
        ("/v1/messages/count_tokens", {}, "/claude-api/messages/count_tokens"),
        ("/v1beta/models/gemini-pro:generateContent?alt=sse", {}, None),
        # the first
        ("/v1/chat/completions", model("unknown"), "/openai-api/v1/chat/completions"),
        ("/v1/files", {}, "/openai-api/v1/files"),
        ("/v1/batches/b1", {}, "/openai-api/v1/batches/b1"),
        ("/v1/x", {"body": b"not json"}, "/openai-api/v1/x"),
        ("/other/path?q", {}, "/openai-api/v1/other/path?q"),
    ],
)
async def test_a_request_goes_where_the_table_says(
    gateway, upstream, upstreams, target, said, arrives
):
    async with gateway(upstreams=upstreams) as gw:
        answer = await gw.request("POST", target, **said)

    assert answer.status == 200
    (request,) = upstream.requests
    assert request.target == (arrives or f"/google-api{target}")


async def test_an_unknown_upstream_is_not_guessed(gateway, upstream, upstreams):
    async with gateway(upstreams=upstreams) as gw:
        named = [("x-gateway-upstream", "nobody")]
        answer = await gw.request("POST", "/v1/x", headers=named, body=b"{}")
        calls = await gw.calls()

    assert (answer.status, answer.code) == (404, "unknown_upstream")
    assert answer.json()["error"]["code"] == "unknown_upstream"
    assert (upstream.hits, calls) == (0, [])


async def test_the_root_leads_to_the_dashboard(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.request("GET", "/")

    assert answer.status in (301, 302, 303, 307, 308)
    assert answer.header("location") == "/-/ui/"
    assert upstream.hits == 0


async def test_the_gateways_own_paths_are_never_relayed(gateway, upstream):
    async with gateway() as gw:
        own = await gw.request("GET", "/-/nothing")
        await gw.request("GET", "/%2d/calls")
        await gw.request("GET", "/-%2fcalls")

    assert (own.status, own.header("content-type")) == (404, "application/problem+json")
    assert [request.target for request in upstream.requests] == ["/v1/%2d/calls", "/v1/-%2fcalls"]


async def test_the_same_base_url_serves_calls_of_every_dialect(gateway, upstream, upstreams):
    upstream.choose = lambda request: Answer(body=request.target.encode())
    async with gateway(upstreams=upstreams) as gw:
        chat = await gw.request("POST", "/v1/chat/completions", **model("gpt-4o"))
        messages = await gw.request("POST", "/v1/messages", **model("claude-3"))
        calls = await gw.calls()

    assert (chat.body, messages.body) == (
        b"/openai-api/v1/chat/completions",
        b"/claude-api/messages",
    )
    assert [(call["upstream"], call["model"], call["path"]) for call in calls] == [
        ("claude", "claude-3", "/v1/messages"),
        ("openai", "gpt-4o", "/v1/chat/completions"),
    ]
