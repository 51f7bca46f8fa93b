"""One attempt: every way it can go is a value, and nothing a client says moves it elsewhere.

What an answer turns into is shown against `aioresponses`; what stands on the wire, and in which
order connections live and die, against a real server; what the clock decides, on a fake clock.
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Attempt, Outcome, Request
from gateway.config import Timeouts
from gateway.config import Upstream as Settings
from gateway.relay.recording import Recording
from gateway.relay.upstream import Upstream, _Phases, end_to_end, open_session
from tests.steps import Answer, Gate, cut, held, raw, reset, stream

BASE = "http://api.example/v1"
NOW = 1_800_000_000.0


class Response(aiohttp.ClientResponse):
    """aioresponses knows nothing of an argument that today's aiohttp wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@dataclass
class Try:
    """An attempt that is over: its record, its recording and when its head was told."""

    attempt: Attempt
    recording: Recording
    heads: list[int | None] = field(default_factory=list)


def settings(**said: Any) -> Settings:
    return Settings(name="openai", base_url=said.pop("base_url", BASE), **said)


def ask(method: str = "POST", *, body: bytes = b"{}", headers: Any = ()) -> Request:
    return Request(
        method=method, path="/v1/x", query="", headers=tuple(headers), body=body,
        body_bytes=len(body), sha256="",
    )  # fmt: skip


def begin() -> Try:
    attempt = Attempt(number=1, upstream="openai", started_at=NOW)

    async def spill(recording: Recording) -> None:
        recording.take_parts()

    async def load(start: int, at_most: int) -> bytes:
        raise NotImplementedError

    monotonic = asyncio.get_running_loop().time
    return Try(attempt, Recording(attempt, monotonic=monotonic, spill=spill, load=load))


async def attempt(
    upstream: Upstream,
    request: Request | None = None,
    target: str = "/x",
    *,
    within_s: float | None = None,
    of: Try | None = None,
) -> Try:
    """Make one attempt and return it."""
    one = of or begin()
    await upstream.attempt(
        one.attempt, request or ask(), target, one.recording,
        within_s=within_s, now=lambda: NOW + 1,
        on_head=lambda: one.heads.append(one.attempt.status),
    )  # fmt: skip
    return one


async def mocked(step: dict[str, Any], **said: Any) -> Try:
    """Make one attempt at an upstream that answers by *step*."""
    async with open_session() as session:
        with aioresponses() as api:
            api.post(f"{BASE}/x", response_class=Response, **step)
            return await attempt(Upstream(settings(**said), BASE, session))


async def real(upstream: Any, request: Request | None = None, **said: Any) -> Try:
    """Make one attempt at a real server."""
    target, within_s = said.pop("target", "/x"), said.pop("within_s", None)
    base_url = said.setdefault("base_url", f"{upstream.url}/v1")
    async with open_session() as session:
        made = Upstream(settings(**said), base_url, session)
        return await attempt(made, request, target, within_s=within_s)


# -- outcomes


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 429, 500, 503, 529, 599])
async def test_every_status_is_an_answer(status):
    one = await mocked({"status": status, "body": b"said", "headers": {"Retry-After": "3"}})

    assert (one.attempt.outcome, one.attempt.status) == (Outcome.ANSWERED, status)
    assert one.attempt.failure is None
    assert (b"Retry-After", b"3") in one.attempt.headers
    assert one.recording.whole() == b"said"
    assert one.attempt.complete
    assert one.heads == [status]
    assert one.attempt.first_byte_at == NOW + 1


def _unreachable(error: type[aiohttp.ClientConnectorError], cause: OSError) -> Exception:
    key = ConnectionKey("api.example", 443, True, True, None, None, None)
    return error(key, cause)


@pytest.mark.parametrize(
    ("error", "outcome", "code", "hopeless"),
    [
        (
            _unreachable(aiohttp.ClientConnectorError, ConnectionRefusedError(111, "refused")),
            Outcome.UNREACHABLE, "upstream_unreachable", False,
        ),
        (
            _unreachable(aiohttp.ClientConnectorDNSError, OSError(-2, "Name not known")),
            Outcome.UNREACHABLE, "upstream_unreachable", False,
        ),
        (
            _unreachable(aiohttp.ClientConnectorSSLError, ssl.SSLError(1, "handshake")),
            Outcome.UNREACHABLE, "upstream_unreachable", False,
        ),
        (
            aiohttp.ClientConnectorCertificateError(
                ConnectionKey("api.example", 443, True, True, None, None, None),
                ssl.CertificateError("self-signed"),
            ),
            Outcome.UNREACHABLE, "upstream_unreachable", True,
        ),
        (aiohttp.ServerDisconnectedError(), Outcome.BROKEN, "upstream_broken", False),
        (aiohttp.ClientOSError(104, "reset"), Outcome.BROKEN, "upstream_broken", False),
        (aiohttp.ClientPayloadError("short"), Outcome.BROKEN, "upstream_broken", False),
        (
            aiohttp.ClientResponseError(Mock(), (), status=400, message="garbage"),
            Outcome.BROKEN, "upstream_broken", False,
        ),
        (ConnectionResetError(104, "reset"), Outcome.BROKEN, "upstream_broken", False),
        (ValueError("no HTTP"), Outcome.BROKEN, "upstream_broken", False),
    ],
)  # fmt: skip
async def test_every_failure_is_a_value(error, outcome, code, hopeless):
    one = await mocked({"exception": error})

    assert one.attempt.outcome is outcome
    assert one.attempt.failure is not None
    assert (one.attempt.failure.code, one.attempt.failure.hopeless) == (code, hopeless)
    assert "openai" in one.attempt.failure.message
    assert (one.attempt.status, one.heads, one.attempt.complete) == (None, [], False)
    assert one.recording.ended


async def test_a_failure_names_no_credential():
    """What a certificate or a name server says may hold the address, `key=` included."""
    cause = OSError(1, "GET https://api.example/x?key=AIzaSySecretSecretSecret failed")
    one = await mocked({"exception": _unreachable(aiohttp.ClientConnectorError, cause)})

    assert one.attempt.failure is not None
    assert "AIza" not in one.attempt.failure.message


async def test_a_bug_is_no_outcome():
    """Only what networks and servers do becomes a value; the relay ends such a call by itself."""
    with pytest.raises(ZeroDivisionError):
        await mocked({"exception": ZeroDivisionError()})


async def test_an_answer_that_breaks_off_is_broken_and_keeps_what_came(upstream):
    upstream.answer = cut(Answer(200, body=b"0123456789"), 4)

    one = await real(upstream)

    assert one.attempt.outcome is Outcome.BROKEN
    assert (one.attempt.status, one.heads) == (200, [200])
    assert one.recording.whole() == b"0123"
    assert (one.attempt.complete, one.attempt.body_bytes) == (False, 4)


@pytest.mark.parametrize(
    "step",
    [
        reset(),
        raw(b""),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
    ids=["reset", "closed", "no HTTP", "no length", "another protocol", "no chunk"],
)
async def test_what_is_no_answer_is_broken(upstream, step):
    upstream.answer = step

    one = await real(upstream)

    assert one.attempt.outcome is Outcome.BROKEN
    assert one.attempt.failure is not None
    assert one.attempt.failure.code == "upstream_broken"


async def test_nobody_there_is_unreachable(upstream):
    upstream.stop_listening()

    one = await real(upstream)

    assert one.attempt.outcome is Outcome.UNREACHABLE


async def test_an_attempt_that_is_cancelled_is_marked_and_its_connection_closed(upstream):
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], Gate())
    one = begin()
    async with open_session() as session, asyncio.TaskGroup() as tasks:
        made = Upstream(settings(), f"{upstream.url}/v1", session)
        task = tasks.create_task(attempt(made, of=one))
        await upstream.wait_hits(1)
        task.cancel()
        await upstream.wait_closed(upstream.request)

    assert task.cancelled()
    assert one.attempt.outcome is Outcome.CANCELLED
    assert one.recording.ended
    assert not one.attempt.complete


async def test_a_whole_answer_leaves_its_connection_for_the_next(upstream):
    upstream.script = [200, cut(Answer(body=b"0123456789"), 4), 200]
    async with open_session() as session:
        made = Upstream(settings(), f"{upstream.url}/v1", session)
        outcomes = [(await attempt(made)).attempt.outcome for _ in range(3)]

    assert outcomes == [Outcome.ANSWERED, Outcome.BROKEN, Outcome.ANSWERED]
    assert [request.connection.number for request in upstream.requests] == [1, 1, 2]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
async def test_no_method_is_sent_twice_when_a_kept_connection_drops(upstream, method):
    upstream.script = [200, reset(), 200]
    async with open_session() as session:
        made = Upstream(settings(), f"{upstream.url}/v1", session)
        await attempt(made, ask(method, body=b""))
        second = await attempt(made, ask(method, body=b""))

    assert second.attempt.outcome is Outcome.BROKEN
    assert upstream.hits == 2


# -- what goes out


async def sent(upstream: Any, headers: Any, **said: Any) -> list[tuple[str, str]]:
    await real(upstream, ask(headers=headers), **said)
    names = {"host", "content-length"}
    return [(name, text) for name, text in upstream.request.headers if name.lower() not in names]


CLIENTS_OWN = [
    (b"Authorization", b"Bearer sk-client"),
    (b"X-API-Key", b"client"),
    (b"api-key", b"client"),
    (b"x-goog-api-key", b"client"),
]


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("bearer", ("Authorization", "Bearer sk-ours")),
        ("x-api-key", ("x-api-key", "sk-ours")),
        ("api-key", ("api-key", "sk-ours")),
        ("x-goog-api-key", ("x-goog-api-key", "sk-ours")),
    ],
)
async def test_the_upstreams_credential_takes_the_place_of_any_the_client_sent(
    upstream, auth, expected
):
    fields = await sent(upstream, [*CLIENTS_OWN, (b"X-Stays", b"1")], api_key="sk-ours", auth=auth)

    assert fields == [("X-Stays", "1"), expected]


async def test_without_one_of_its_own_the_clients_credential_is_passed_through(upstream):
    fields = await sent(upstream, CLIENTS_OWN)

    assert fields == [(name.decode(), text.decode()) for name, text in CLIENTS_OWN]


async def test_the_simulated_api_gets_no_credential(upstream):
    async with open_session() as session:
        made = Upstream(settings(base_url="mock:"), upstream.url, session)
        await attempt(made, ask(headers=CLIENTS_OWN))

    assert not {name.lower() for name, _ in upstream.request.headers} & {
        "authorization", "x-api-key", "api-key", "x-goog-api-key",
    }  # fmt: skip


async def test_fields_go_out_as_they_came_in(upstream):
    """Case, order, repetitions and any byte; nothing is added but Host and framing."""
    fields = await sent(
        upstream,
        [(b"x-B", b"2"), (b"X-a", b"1"), (b"x-b", b"3"), (b"X-Utf", "ü".encode()), (b"Cookie", b"c=1")],
    )  # fmt: skip

    assert fields == [
        ("x-B", "2"), ("X-a", "1"), ("x-b", "3"), ("X-Utf", "Ã¼"), ("Cookie", "c=1"),
    ]  # fmt: skip


async def test_no_cookie_of_an_answer_goes_with_the_next_request(upstream):
    upstream.answer = Answer(headers=[("Set-Cookie", "session=1")])
    async with open_session() as session:
        made = Upstream(settings(), f"{upstream.url}/v1", session)
        await attempt(made)
        await attempt(made)

    assert upstream.requests[1].header("cookie") is None


async def test_a_redirect_is_an_answer(upstream):
    upstream.answer = Answer(307, [("Location", "http://127.0.0.1:1/elsewhere")])

    one = await real(upstream)

    assert (one.attempt.outcome, one.attempt.status) == (Outcome.ANSWERED, 307)
    assert upstream.hits == 1


async def test_a_compressed_answer_stays_compressed(upstream):
    upstream.answer = Answer(
        headers=[("Content-Encoding", "gzip")], body=b"\x1f\x8b no gzip at all"
    )

    one = await real(upstream)

    assert one.recording.whole() == b"\x1f\x8b no gzip at all"


async def test_a_large_body_leaves_ram_and_arrives_whole(upstream):
    body = bytes(range(256)) * 4096
    request = ask(body=body)

    await real(upstream, request)

    assert upstream.request.body == body
    assert request.body is None


TARGETS = [
    "/x",
    "",
    "//evil.example/x",
    "/x?a=1&b=%20&&c",
    "/x?",
    "/a%2fb%2Fc/%E2%82%AC/~!$&'()*+,;=:@",
    "/@evil.example/x",
    "/x?next=http://evil.example/",
    "/with%20space",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_the_target_goes_out_byte_for_byte_below_the_base_url(upstream, target):
    await real(upstream, target=target)

    assert upstream.request.target == "/v1" + target


@given(target=st.one_of(st.text(max_size=30), st.from_regex(r"[@:/.\\#?0-9a-z]{0,20}")))
def test_no_target_leads_to_another_authority(target):
    """Whatever stands in a target, the request goes to the configured address."""
    url = Upstream(settings(), "http://api.example:81", Mock())._url(target)

    assert (url.scheme, url.host, url.port, url.user) == ("http", "api.example", 81, None)
    assert url.raw_path_qs == (target if target.startswith("/") else f"/{target}")


async def test_a_target_that_looks_like_an_authority_is_still_a_path(upstream):
    base_url = f"http://127.0.0.1:{upstream.port}"

    one = await real(upstream, base_url=base_url, target="@127.0.0.1:1/x")

    assert one.attempt.outcome is Outcome.ANSWERED
    assert upstream.request.target == "/@127.0.0.1:1/x"


# -- what comes back


def test_hop_by_hop_fields_and_framing_do_not_travel():
    raw_fields = (
        (b"Connection", b"close, X-Internal"),
        (b"connection", b" x-other ,"),
        (b"X-Internal", b"1"),
        (b"X-OTHER", b"2"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"Proxy-Connection", b"keep-alive"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-Sum"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"Content-Length", b"5"),
        (b"x-Stays", b"3"),
        (b"X-Stays", b"4"),
    )

    assert end_to_end(raw_fields) == ((b"x-Stays", b"3"), (b"X-Stays", b"4"))


@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from([b"X-A", b"x-b", b"Connection", b"TE", b"Set-Cookie", b"Upgrade"]),
            st.sampled_from([b"x-a", b"X-B, close", b"", b",,", b"set-cookie", b"1"]),
        ),
        max_size=8,
    )
)
def test_what_travels_keeps_its_order_and_names_nothing_that_connection_lists(fields):
    kept = end_to_end(tuple(fields))
    listed = b",".join(value for name, value in fields if name == b"Connection").lower().split(b",")
    banned = {b"connection", b"te", b"upgrade", *(name.strip() for name in listed)}

    assert list(kept) == [field for field in fields if field[0].lower() not in banned]


@pytest.mark.parametrize(
    ("step", "declared", "given_whole"),
    [
        (Answer(body=b"0123456789"), 10, True),
        (Answer(headers=[("Content-Length", "300000")], body=b"x" * 300_000), 300_000, False),
        (stream([b"x"], headers=[]), None, False),
        (Answer(headers=[("Connection", "close")], body=b"until the end"), None, False),
        (Answer(204, []), None, True),
    ],
    ids=["small", "large", "chunked", "until close", "none"],
)
async def test_the_head_tells_how_long_the_answer_is(upstream, step, declared, given_whole):
    upstream.answer = step

    one = await real(upstream)

    assert (one.recording.declared, one.recording.is_given_whole) == (declared, given_whole)
    assert one.attempt.outcome is Outcome.ANSWERED


async def test_a_head_request_has_a_length_and_no_body(upstream):
    upstream.answer = Answer(body=b"0123456789")

    one = await real(upstream, ask("HEAD", body=b""))

    assert (one.recording.declared, one.recording.size) == (10, 0)
    assert one.recording.is_given_whole
    assert one.attempt.outcome is Outcome.ANSWERED


# -- time: each bound by itself, exactly

LIMITS = Timeouts(connect_s=5, first_byte_s=300, idle_s=120, total_s=900)


@pytest.mark.looptime(start=1000)
@pytest.mark.parametrize(
    ("phases_s", "within_s", "late", "at"),
    [
        ([6], None, "connect_timeout", 5),
        ([4, 301], None, "first_byte_timeout", 304),
        ([4, 299, 121], None, "idle_timeout", 423),
        ([0, 0, 119, 119, 121], None, "idle_timeout", 358),
        ([4, 299, *[100] * 7], None, "total_timeout", 900),
        ([6], 3, "deadline_exceeded", 3),
        ([4, 301], 100, "deadline_exceeded", 100),
        ([4, 299, *[100] * 7], 899, "deadline_exceeded", 899),
        ([4, 299, *[100] * 7], 901, "total_timeout", 900),
        ([1], 0, "deadline_exceeded", 0),
        ([4, 299, 119, 119, 119], None, None, 660),
    ],
)
async def test_a_phase_has_its_own_bound_and_all_of_them_one(phases_s, within_s, late, at):
    """The seconds of connecting, of waiting for the head, and of each read."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    phases = _Phases(LIMITS, within_s)
    ends = [phases.connected, *[phases.read] * len(phases_s)]
    told = None
    try:
        with phases:
            for seconds, end in zip(phases_s, ends, strict=False):
                await asyncio.sleep(seconds)
                end()
    except TimeoutError:
        told = phases.late

    assert (told, loop.time() - began) == (late, at)


@pytest.mark.looptime(start=0)
async def test_somebody_elses_cancel_goes_before_the_timeout():
    """Both at the same moment: the call was cancelled, and nobody may take that for a timeout."""
    phases = _Phases(LIMITS, 10)

    async def wait() -> None:
        with phases:
            phases.connected()
            await asyncio.sleep(100)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(10, task.cancel)

    assert task.cancelled()


@pytest.mark.looptime(start=0)
async def test_a_block_that_ended_in_time_is_never_cancelled_afterwards():
    phases = _Phases(LIMITS, 10)
    with phases:
        phases.connected()
        await asyncio.sleep(9.999)
    await asyncio.sleep(1000)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize(
    ("step", "within_s", "timeouts", "code"),
    [
        (held(Gate()), None, {"first_byte_s": 0.02}, "first_byte_timeout"),
        (Answer(body=b"xy", gate=Gate()), None, {"idle_s": 0.02}, "idle_timeout"),
        (held(Gate()), None, {"total_s": 0.02}, "total_timeout"),
        (held(Gate()), 0.02, {}, "deadline_exceeded"),
    ],
)
async def test_a_timeout_is_a_value_and_closes_the_connection(
    upstream, step, within_s, timeouts, code
):
    upstream.answer = step

    one = await real(upstream, within_s=within_s, timeouts=Timeouts(**timeouts))
    await upstream.wait_closed(upstream.request)

    assert one.attempt.outcome is Outcome.TIMED_OUT
    assert one.attempt.failure is not None
    assert one.attempt.failure.code == code
    assert not one.attempt.complete
