"""The relayed face: one HTTP request in, its call's recording out.

A handler only follows. Cancelling it, which is what aiohttp does when the client leaves, cancels
nobody's work: relay is told that a client has gone, and the call's policy decides.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog
from aiohttp import web
from aiohttp.web_request import BaseRequest
from typing_extensions import override

from gateway import config
from gateway.call import Call, Failure, header
from gateway.errors import Forbidden, GatewayError, Gone, Refused
from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording
from gateway.relay.relay import Relay
from gateway.telemetry.metrics import Metrics
from gateway.web import errors, headers, routing
from gateway.web.arriving import Arrival, Arriving
from gateway.web.following import Following
from gateway.web.pings import BOUNDARIES, Pings
from gateway.web.request import read_call, split_target
from gateway.web.response import RawResponse
from gateway.web.security.auth import Gate
from gateway.web.security.forwarding import came_by_tls, client_address
from gateway.web.security.identity import Identity
from gateway.web.security.limits import KeyLimits

log = structlog.get_logger()

_STREAM = ((b"Content-Type", b"text/event-stream"), (b"Cache-Control", b"no-store"))
_SANDBOX = ("Content-Security-Policy", "sandbox")
_TELLS_SDKS_TO_RETRY = frozenset({408, 409, 429})
_NAMES_ITS_OWN_CALL = frozenset({b"x-gateway-call-id", b"x-gateway-attempts"})

#: Give the recorded answer of a final call once more: (request, call id, further fields).
Replay = Callable[[BaseRequest, str, list[tuple[str, str]]], Awaitable[web.StreamResponse]]
#: The 202 of a call: (its JSON, seconds after which to ask).
Pending = Callable[[str], Awaitable[tuple[bytes, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """Answers every path that is not the gateway's own."""

    relay: Relay
    settings: Callable[[], config.Config]
    metrics: Metrics
    client_hash: Callable[[bytes], str]
    next_seq: Callable[[], int]
    new_id: Callable[[], str]
    now: Callable[[], float]
    rng: random.Random
    replay: Replay
    pending: Pending
    gate: Gate
    limits: KeyLimits
    arriving: Arriving

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Relay one request."""
        with self.arriving.body() as arrival:
            taken_on = await self._take_on(request, arrival)
        if isinstance(taken_on, web.StreamResponse):
            return taken_on
        client, live = taken_on
        if isinstance(live, str):
            return await self._replayed(request, live, client.dialect)
        client.live = live
        return await client.run()

    async def _take_on(
        self, request: BaseRequest, arrival: Arrival
    ) -> "tuple[_Client, LiveCall | str] | web.StreamResponse":
        """The client of a call that was read and taken on, with what it follows; or a refusal, sent."""
        path = request.raw_path
        settings = self.settings()
        try:
            path, query = split_target(request)
            identity = self._identify(request, path, query)
            arrival.client = identity.client or client_address(request, settings.server)
            call = await read_call(
                request,
                path,
                query,
                settings=settings,
                client_hash=self.client_hash,
                now=self.now(),
                next_seq=self.next_seq,
                new_id=self.new_id,
                arrival=arrival,
                identity=identity,
            )
        except Refused as refused:
            return await self.refuse(request, refused, self._guess_dialect(request, path))
        upstream = settings.upstreams[call.upstream]
        dialect = _dialect(path, upstream)
        pings = None
        if upstream.stream_ping_s and call.stream:
            pings = Pings(upstream.stream_ping_s, dialect)
        client = _Client(self, request, call, dialect, pings)
        try:
            live = await self.relay.take_on(call, client)
        except Refused as refused:
            return await self.refuse(request, refused, dialect)
        if isinstance(live, str) or live.call is not call:
            call.request = replace(call.request, body=None)  # it goes nowhere
        elif arrival.held_bytes:
            arrival.until(live.accepted)  # from then on the journal has it, or admission counts it
        return client, live

    def _identify(self, request: BaseRequest, path: str, query: str) -> Identity:
        """Who asks, if they may ask now. Raises: Unauthorized, Forbidden, AuthThrottled, KeyLimit."""
        server, raw = self.settings().server, request.raw_headers
        if (
            not self.settings().auth.required
        ):  # else a page of another origin would have to know a key
            refusal = headers.check_origin(
                raw, server.allowed_origins, by_tls=came_by_tls(request, server)
            )
            if refusal is not None:
                raise Forbidden(refusal)
        dialect = self._guess_dialect(request, path) if "key=gw_" in query else ""
        identity = self.gate.relayed(request, query, dialect)
        if identity.key is not None:
            self.limits.admit(identity.key)
        return identity

    async def refuse(
        self, request: BaseRequest, refused: GatewayError, dialect: errors.Dialect
    ) -> web.StreamResponse:
        """Answer a request that made no call."""
        self.metrics.refused(refused.code)
        log.info(
            "request_refused", code=refused.code, reason=refused.message, method=request.method
        )
        retry_after_s = refused.retry_after_s if isinstance(refused, Refused) else None
        told = errors.answer(
            refused.code,
            refused.message,
            dialect=dialect,
            retry_after_s=retry_after_s,
            rng=self.rng,
        )
        return await _answer(request, told.status, told.headers, told.body)

    async def _replayed(
        self, request: BaseRequest, call_id: str, dialect: errors.Dialect
    ) -> web.StreamResponse:
        """The same Idempotency-Key, and its call is final: the recorded answer once more."""
        try:
            return await self.replay(request, call_id, [("Idempotent-Replayed", "true")])
        except Gone as gone:
            return await self.refuse(request, gone, dialect)

    async def turn_away(
        self, request: BaseRequest, path: str, refused: Refused
    ) -> web.StreamResponse:
        """Answer a request for *path* that is not looked at any further."""
        return await self.refuse(request, refused, self._guess_dialect(request, path))

    def _guess_dialect(self, request: BaseRequest, path: str) -> errors.Dialect:
        """The dialect of a request that was refused before its upstream was chosen."""
        upstreams = self.settings().upstreams
        named = headers.named_upstream(request.raw_headers)
        known = named if named in upstreams else None
        route = routing.choose(path, named=known, model=None, upstreams=upstreams)
        return _dialect(path, route.upstream)


def _dialect(path: str, upstream: config.Upstream) -> errors.Dialect:
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    return upstream.dialect


class _Client(Following):
    """One client and its call: waits for the answer, writes it, or says why there is none.

    `call` is what this client asked for; `live.call` is the call it follows, another one where it
    joined. Its `Prefer` and its deadline govern its own waiting only.
    """

    def __init__(
        self,
        relayed: Relayed,
        request: BaseRequest,
        call: Call,
        dialect: errors.Dialect,
        pings: Pings | None,
    ) -> None:
        super().__init__()
        self._relayed = relayed
        self._request = request
        self._options = call.options
        self._asked = call
        self.dialect = dialect
        self._pings = pings

    async def run(self) -> web.StreamResponse:
        """Follow the call to its end, or until the client leaves."""
        self._is_replay = self.live.over  # an SDK's retry that came after the end
        try:
            if self._options.detached:
                await self.live.wait_accepted()
            recording = await self._wait_answer()
            if recording is None:
                return await self._fail(self.live.outcome)
            return await self._give(recording)
        except Refused as refused:
            return await self._relayed.refuse(self._request, refused, self.dialect)
        except _Later:
            return await self._later()
        except _TooLate:
            self._relayed.relay.left(self.live, self)
            message = "the call that this request joined was not done by its deadline"
            return await self._fail(Failure(code="deadline_exceeded", message=message))
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self._relayed.relay.left(self.live, self)
            raise

    async def _wait_answer(self) -> Recording | None:
        """The recording to relay, None where there is none.

        Raises: _Later - a `respond-async` client has waited as long as it wanted to
                _TooLate - a client that joined has waited until its own deadline
        """
        live, options = self.live, self._options
        if options.detached:
            try:
                async with asyncio.timeout(options.wait_s):
                    await live.wait_presentable()
            except TimeoutError:
                raise _Later from None
            return live.take()
        if live.call is self._asked:
            return await self._wait_head()
        try:
            async with asyncio.timeout(options.timeout_s):
                return await self._wait_head()
        except TimeoutError:
            raise _TooLate from None

    async def _wait_head(self) -> Recording | None:
        """The answer; meanwhile the client of a pinged stream gets a head of ours, and pings."""
        live, pings = self.live, self._pings
        if pings is None or not self._is_surely_events():
            return await live.wait_answer()
        await live.wait_accepted()
        await pings.wait_offer(live, self._begin)
        return await live.wait_answer()

    def _is_surely_events(self) -> bool:
        """Gemini streams a JSON array unless it is asked for events."""
        if not self._asked.request.path.endswith(":streamGenerateContent"):
            return True
        return "alt=sse" in self._asked.request.query.split("&")

    def _begin(self) -> RawResponse:
        """An event stream of which the upstream has said nothing yet."""
        call = self.live.call
        extra = [
            ("x-gateway-call-id", call.id),
            ("x-gateway-attempts", str(len(call.attempts))),
            ("Server-Timing", self._timing(call.started_at or self._relayed.now())),
        ]
        if headers.is_navigation(self._request.raw_headers):
            extra.append(_SANDBOX)
        self._response = RawResponse(
            self._request, status=200, reason=None, headers=_STREAM, extra=extra, length=None
        )
        return self._response

    async def _give(self, recording: Recording) -> web.StreamResponse:
        begun = self._response
        if begun is None:
            return await self.write(self._head(recording), recording)
        is_plain = header(recording.headers, b"content-encoding") is None
        if recording.is_event_stream and recording.attempt.status == 200 and is_plain:
            return await self.write(begun, recording)
        what = f"answered {recording.attempt.status}" if is_plain else "compressed its stream"
        message = f"{recording.attempt.upstream} {what} after pings had been sent"
        await self._end_begun(begun, Failure(code="upstream_error", message=message))
        self._relayed.relay.left(self.live, self)  # whatever still comes, nobody reads it here
        return begun

    async def _end_begun(self, begun: RawResponse, failure: Failure) -> web.StreamResponse:
        """All that is left to say in a stream whose head was ours: an error event, and no end."""
        await begun.send(
            errors.stream_event(failure.code, failure.message, self.dialect, self.live.call.id)
        )
        await begun.cut()
        return begun

    @override
    async def wait_news(self, news: asyncio.Event) -> None:
        """Wait for bytes or the end, with a ping whenever the stream was silent for so long."""
        pings, recording, response = self._pings, self.recording, self._response
        if pings is None or recording is None or response is None or response.framing == "length":
            await news.wait()
        else:
            await pings.wait_news(news, self, recording, response)

    async def _later(self) -> web.StreamResponse:
        """202: the call goes on by itself, its answer is at Location."""
        relay, live = self._relayed.relay, self.live
        await relay.detach(live, self)
        body, retry_after = await self._relayed.pending(live.call.id)
        fields = [
            ("Content-Type", "application/json"),
            ("Location", f"/-/calls/{live.call.id}"),
            ("Retry-After", retry_after),
            ("Preference-Applied", "respond-async"),
            ("Vary", "Prefer"),
            ("x-gateway-call-id", live.call.id),
        ]
        return await _answer(self._request, 202, fields, body)

    def _head(self, recording: Recording) -> RawResponse:
        call, attempt = self.live.call, recording.attempt
        status = attempt.status or 502
        replaced = _NAMES_ITS_OWN_CALL  # an upstream may be a gateway too
        extra = [("x-gateway-call-id", call.id), ("x-gateway-attempts", str(attempt.number))]
        if not any(name.lower() == b"server-timing" for name, _ in recording.headers):
            extra.append(("Server-Timing", self._timing(attempt.started_at)))
        if status in _TELLS_SDKS_TO_RETRY or status >= 500:
            replaced |= {b"x-should-retry"}
            extra.append(("x-should-retry", "false"))
        if self._options.detached:
            extra += [("Preference-Applied", "respond-async"), ("Vary", "Prefer")]
        if self._is_replay:
            extra.append(("Idempotent-Replayed", "true"))
        if headers.is_navigation(self._request.raw_headers):
            extra.append(_SANDBOX)
        return RawResponse(
            self._request,
            status=status,
            reason=recording.reason,
            headers=tuple(field for field in recording.headers if field[0].lower() not in replaced),
            extra=extra,
            length=recording.declared,
        )

    def _timing(self, attempt_started_at: float) -> str:
        now, call = self._relayed.now(), self.live.call
        total_ms = (now - call.created_at) * 1000
        upstream_ms = (now - attempt_started_at) * 1000
        queue = f"queue;dur={call.queued_ms:.1f}"
        return f"{queue}, upstream;dur={upstream_ms:.1f}, total;dur={total_ms:.1f}"

    async def _fail(self, failure: Failure | None) -> web.StreamResponse:
        """The call ended without an answer: say why, in the client's dialect."""
        call = self.live.call
        failure = failure or Failure(code="internal", message="the call ended without an answer")
        if self._response is not None:
            return await self._end_begun(self._response, failure)
        if failure.code == "interrupted" and self._options.detached and not call.status.is_final:
            return await self._later()
        told = errors.answer(
            failure.code,
            failure.message,
            dialect=self.dialect,
            call_id=call.id,
            rng=self._relayed.rng,
        )
        extra = [
            ("x-gateway-call-id", call.id),
            ("x-gateway-attempts", str(len(call.attempts))),
            ("Server-Timing", self._timing(call.started_at or self._relayed.now())),
        ]
        if told.status in (502, 504) and failure.code != "interrupted":
            extra.append(("x-should-retry", "false"))
        return await _answer(self._request, told.status, [*told.headers, *extra], told.body)

    @override
    async def break_off(self, response: RawResponse, recording: Recording) -> None:
        """An event says that the stream broke, in the client's dialect; no end ever follows."""
        failure = self.live.outcome or Failure(
            code="upstream_broken", message="the answer broke off"
        )
        if recording.is_event_stream:
            event = errors.stream_event(
                failure.code, failure.message, self.dialect, self.live.call.id
            )
            await response.send(_event_end(recording) + event)
        await response.cut()


def _event_end(recording: Recording) -> bytes:
    """What ends the event that the stream broke off in, so that ours is one by itself."""
    newest = recording.newest(4)
    if not newest or newest.endswith(BOUNDARIES):
        return b""
    return b"\n" if newest.endswith((b"\n", b"\r")) else b"\n\n"


class _Later(Exception):
    """The client gets a 202 now."""


class _TooLate(Exception):
    """A client that joined has waited until its own deadline."""


async def _answer(
    request: BaseRequest, status: int, fields: list[tuple[str, str]], body: bytes
) -> web.StreamResponse:
    response = RawResponse(
        request, status=status, reason=None, headers=(), extra=fields, length=len(body)
    )
    await response.end(body)
    return response
