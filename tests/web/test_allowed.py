"""The strict settings of an upstream: which paths and which fields of a client's reach it: S17, S19."""

import pytest

from gateway import config
from gateway.errors import Forbidden
from gateway.web import allowed, routing
from tests.http1 import without
from tests.steps import Answer

PATHS = ["/chat/completions", "/models*", "/files/*/content"]


def route(target: str, *globs: str) -> routing.Route:
    return routing.Route(config.Upstream(name="a", base_url="mock:", allowed_paths=globs), target)


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("/chat/completions", True),
        ("/models", True),
        ("/models/gpt-4o", True),
        ("/models/org%2Fname", True),
        ("/models/v1;a=b", True),
        ("/models/..;/files", False),
        ("/models/%2e%2E%3bx/files", False),
        ("/files/a/b/content", True),  # a * matches / too
        ("/chat/completions/", False),
        ("/chat/completions/c1", False),
        ("/Chat/completions", False),
        ("/chat%2fcompletions", False),  # another path, or the same one in disguise
        ("/ch%61t/completions", False),
        ("//chat/completions", False),
        ("/files/content", False),
        ("/files/a/content\udc80", False),
        ("", False),
    ],
)
def test_a_path_passes_that_a_glob_matches_as_it_stands(target, passes):
    if passes:
        allowed.check_path(route(target, *PATHS))
    else:
        with pytest.raises(Forbidden, match="does not send that path to a"):
            allowed.check_path(route(target, *PATHS))
    allowed.check_path(route(target))


def test_no_path_makes_a_glob_slow():
    """With a matcher that goes back this takes longer than anybody waits."""
    with pytest.raises(Forbidden):
        allowed.check_path(route("/" + "a" * 8000, "/" + "*a" * 30 + "*b"))


@pytest.mark.parametrize(
    ("field", "passes"),
    [
        ("anthropic-version", True),
        ("openai-beta", True),
        ("openai-organization", True),
        ("openai", False),
        ("anthropic-version-2", False),
        ("x-openai-beta", False),
        ("user-agent", False),
        ("content-type", True),
        ("content-encoding", True),
        ("accept", True),
        ("accept-encoding", True),
        ("authorization", False),
        ("x-api-key", True),
    ],
)
def test_a_field_passes_that_is_listed_or_that_no_request_can_do_without(field, passes):
    strict = config.Upstream(
        name="a",
        base_url="mock:",
        auth="x-api-key",
        allowed_headers=("Anthropic-Version", "OpenAI-*"),
    )

    assert allowed.lets_through(field.encode(), strict) is passes
    assert allowed.lets_through(field.encode(), config.Upstream(name="a", base_url="mock:"))


STRICT = {"allowed_paths": ["/chat/*"], "allowed_headers": ["openai-*", "X-Trace"]}
SENT = [
    ("OpenAI-Beta", "a"), ("openai-beta", "b"), ("x-trace", "1"), ("User-Agent", "sdk"),
    ("X-Forwarded-For", "10.0.0.1"), ("Cookie", "a=b"), ("Accept", "text/event-stream"),
    ("Authorization", "Bearer own"), ("x-api-key", "other"), ("Idempotency-Key", "k"),
]  # fmt: skip


async def test_exactly_what_is_allowed_arrives(gateway, upstream):
    async with gateway(upstreams={"openai": STRICT}) as gw:
        await gw.chat(headers=SENT)
        (call,) = await gw.calls(expand="all")

    arrived = without(upstream.request.headers, ("host", "content-length"))
    assert arrived == [
        ("Content-Type", "application/json"), ("OpenAI-Beta", "a"), ("openai-beta", "b"),
        ("x-trace", "1"), ("Accept", "text/event-stream"), ("Authorization", "Bearer own"),
    ]  # fmt: skip
    assert {name.lower() for name in call["request"]["headers"]} == {
        name.lower() for name, _ in arrived
    }


async def test_the_upstreams_own_credential_needs_no_place_in_the_list(gateway, upstream):
    own = {**STRICT, "api_key": "sk-own", "auth": "api-key"}
    async with gateway(upstreams={"openai": own}) as gw:
        await gw.chat(headers=SENT)

    names = [name.lower() for name, _ in upstream.request.headers]
    assert upstream.request.header("api-key") == "sk-own"
    assert not {"authorization", "x-api-key"} & set(names)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/v1/models", None),
        ("/openai/files", None),
        ("/v1/chat", "openai"),
        ("/openai/chat%2fcompletions?x=/chat/", None),
    ],
)
async def test_another_path_is_refused_and_makes_no_call(gateway, upstream, target, named):
    headers = [("x-gateway-upstream", named)] if named else []
    async with gateway(upstreams={"openai": STRICT}) as gw:
        answer = await gw.request("POST", target, headers=headers, body=b"{}")
        listed = await gw.calls()

    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json()["error"]["message"] == "this gateway does not send that path to openai"
    assert listed == []
    assert upstream.hits == 0


async def test_an_upstream_named_in_the_head_has_no_body_read_for_nothing(gateway, upstream):
    async with gateway(upstreams={"openai": STRICT}) as gw:
        sent = await gw.send("POST", "/openai/files", headers=[("Content-Length", "1000000")])
        await sent.read_head()  # though nothing of the body was sent

    assert sent.status == 403
    assert upstream.hits == 0


async def test_a_replay_goes_where_and_with_what_is_allowed_now(gateway, upstream):
    """Recorded when everything passed; another upstream's lists, or a change of them, count."""
    upstream.answer = Answer(body=b"{}")
    lax: dict = {"openai": {"api_key": "sk"}, "strict": {"api_key": "sk", **STRICT}}
    async with gateway(upstreams=lax) as gw:
        chat = (await gw.chat(headers=SENT)).call_id
        files = (await gw.request("POST", "/v1/files", body=b"{}")).call_id
        elsewhere = {"upstream": "strict"}
        refused = await gw.request("POST", f"/-/calls/{files}/replay", json=elsewhere)
        again = await gw.api("POST", f"/-/calls/{chat}/replay", json=elsewhere, expect=202)
        await gw.final(again["id"])
        gw.configure(upstreams={"openai": {"api_key": "sk", **STRICT}})
        await gw.service.reload()
        bulk = await gw.api("POST", "/-/calls/replay?path=/v1/files")
        later = await gw.request("POST", f"/-/calls/{files}/replay")

    assert (refused.status, refused.json()["code"]) == (403, "forbidden")
    assert {name.lower() for name, _ in upstream.requests[2].headers} == {
        *("host", "content-length", "content-type", "accept"),
        *("openai-beta", "x-trace", "authorization"),
    }
    assert [each["code"] for each in bulk["refused"]] == ["forbidden"]
    assert later.status == 403
    assert upstream.hits == 3
