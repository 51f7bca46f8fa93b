"""The relayed face: one HTTP request in, its call's recording out.

A handler only follows. Cancelling it - what aiohttp does when the client leaves - cancels nobody's
work: relay is told that a client has gone, and the call's policy decides.
"""

import asyncio
import random
from collections.abc import Callable

import structlog
from aiohttp import web
from aiohttp.web_request import BaseRequest

from gateway import config
from gateway.call import Call, Failure
from gateway.errors import Forbidden, GatewayError, Refused
from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording
from gateway.relay.relay import Relay
from gateway.telemetry.metrics import Metrics
from gateway.web import errors, headers
from gateway.web.request import read_call, split_target
from gateway.web.response import RawResponse

log = structlog.get_logger()

LAG_BYTES = 262_144  # more than this unread by the client, and it pulls at its own pace
WRITE_S = 30.0  # a client that takes nothing for so long has left
_SANDBOX = ("Content-Security-Policy", "sandbox")
_TELLS_SDKS_TO_RETRY = frozenset({408, 409, 429})


class Relayed:
    """Answers every path that is not the gateway's own."""

    def __init__(
        self,
        *,
        relay: Relay,
        settings: Callable[[], config.Config],
        metrics: Metrics,
        client_hash: Callable[[bytes], str],
        next_seq: Callable[[], int],
        new_id: Callable[[], str],
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._relay = relay
        self._settings = settings
        self._metrics = metrics
        self._client_hash = client_hash
        self._next_seq = next_seq
        self._new_id = new_id
        self._now = now
        self._rng = rng

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Relay one request."""
        path = request.raw_path
        try:
            path, query = split_target(request)
            settings = self._settings()
            refusal = headers.check_origin(request.raw_headers, settings.server.allowed_origins)
            if refusal is not None:
                raise Forbidden(refusal)
            call = await read_call(
                request, path, query, settings=settings, client_hash=self._client_hash,
                now=self._now(), next_seq=self._next_seq, new_id=self._new_id,
            )  # fmt: skip
        except Refused as refused:
            return await self.refuse(request, refused, self._dialect(path, None))
        dialect = self._dialect(path, settings.upstreams[call.upstream])
        following = _Following(self, request, call, dialect)
        try:
            following.live = self._relay.accept(call, following)
        except Refused as refused:
            return await self.refuse(request, refused, dialect)
        return await following.run()

    async def refuse(
        self, request: BaseRequest, refused: GatewayError, dialect: errors.Dialect
    ) -> web.StreamResponse:
        """No call was made."""
        self._metrics.refused(refused.code)
        log.info(
            "request_refused", code=refused.code, reason=refused.message, method=request.method
        )
        retry_after_s = refused.retry_after_s if isinstance(refused, Refused) else None
        told = errors.answer(
            refused.code,
            refused.message,
            dialect=dialect,
            retry_after_s=retry_after_s,
            rng=self._rng,
        )
        response = RawResponse(
            request,
            status=told.status,
            reason=None,
            headers=(),
            extra=told.headers,
            length=len(told.body),
        )
        await response.end(told.body)
        return response

    def _dialect(self, path: str, upstream: config.Upstream | None) -> errors.Dialect:
        if path == "/v1/messages" or path.startswith("/v1/messages/"):
            return "anthropic"
        return "openai" if upstream is None else upstream.dialect


class _Following:
    """One client and its call: waits for the answer, writes it, or says why there is none."""

    live: LiveCall

    def __init__(
        self, relayed: Relayed, request: BaseRequest, call: Call, dialect: errors.Dialect
    ) -> None:
        self._relayed = relayed
        self._request = request
        self._call = call
        self._dialect = dialect
        self._response: RawResponse | None = None
        self._recording: Recording | None = None
        self._news = asyncio.Event()
        self.position = 0

    async def run(self) -> web.StreamResponse:
        """Follow the call to its end, or until the client leaves."""
        try:
            await self.live.accepted
            return await self._follow()
        except Refused as refused:
            return await self._relayed.refuse(self._request, refused, self._dialect)
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            self._relayed._relay.left(self.live, self)
            raise
        finally:
            if self._recording is not None:
                self._recording.unfollow(self)

    # what relay and the recording ask of a client

    def has_its_answer(self) -> bool:
        """Its stream's last event was sent, or the upstream's end was read."""
        recording = self._recording
        if recording is None:
            return False
        last = recording.last_event_end
        ended = recording.ended and recording.attempt.complete
        return ended or (last is not None and self.position >= last)

    async def push(self, data: bytes) -> bool:
        """Called by the task that reads the upstream: write at once, or lag."""
        response = self._response
        if response is None or response.buffered > LAG_BYTES:
            return False
        try:
            await response.send(data)
        except ConnectionError:
            return False
        self.position += len(data)
        return True

    def wake(self) -> None:
        """There is something to pull, or the end."""
        self._news.set()

    # following

    async def _follow(self) -> web.StreamResponse:
        recording = await self._answer()
        if recording is None:
            return await self._fail(self.live.outcome)
        self._recording = recording
        response = self._response = self._head(recording)
        whole = recording.whole() if self.live.over and recording.ended else None
        if whole is not None and recording.attempt.complete:
            await response.end(whole)
            return response
        await response.start()
        recording.follow(self)
        while True:
            self._news.clear()
            while data := await recording.read(self.position):
                async with asyncio.timeout(WRITE_S):
                    await response.send(data)
                self.position += len(data)
            if recording.ended and self.position >= recording.size:
                break
            await self._news.wait()
        await self.live.wait_over()
        if recording.attempt.complete:
            await response.end()
        else:
            await self._break_off(response, recording)
        return response

    async def _answer(self) -> Recording | None:
        """The recording to relay; a `respond-async, wait=N` client may get a 202 instead."""
        return await self.live.wait_answer()

    def _head(self, recording: Recording) -> RawResponse:
        call, attempt = self._call, recording.attempt
        upstream_headers = recording.headers
        status = attempt.status or 502
        extra = [("x-gateway-call-id", call.id), ("x-gateway-attempts", str(attempt.number))]
        names = {name.lower() for name, _ in upstream_headers}
        if b"server-timing" not in names:
            extra.append(("Server-Timing", self._timing(attempt.started_at)))
        if status in _TELLS_SDKS_TO_RETRY or status >= 500:
            upstream_headers = tuple(
                h for h in upstream_headers if h[0].lower() != b"x-should-retry"
            )
            extra.append(("x-should-retry", "false"))
        if headers.is_navigation(self._request.raw_headers):
            extra.append(_SANDBOX)
        return RawResponse(
            self._request, status=status, reason=recording.reason, headers=upstream_headers,
            extra=extra, length=recording.declared,
        )  # fmt: skip

    def _timing(self, attempt_started_at: float) -> str:
        now = self._relayed._now()
        total_ms = (now - self._call.created_at) * 1000
        upstream_ms = (now - attempt_started_at) * 1000
        queue = f"queue;dur={self._call.queued_ms:.1f}"
        return f"{queue}, upstream;dur={upstream_ms:.1f}, total;dur={total_ms:.1f}"

    async def _fail(self, failure: Failure | None) -> web.StreamResponse:
        """The call ended without an answer: say why, in the client's dialect."""
        call = self._call
        failure = failure or Failure(code="internal", message="the call ended without an answer")
        told = errors.answer(
            failure.code,
            failure.message,
            dialect=self._dialect,
            call_id=call.id,
            rng=self._relayed._rng,
        )
        extra = [("x-gateway-call-id", call.id), ("x-gateway-attempts", str(len(call.attempts)))]
        extra.append(("Server-Timing", self._timing(call.started_at or self._relayed._now())))
        if told.status in (502, 504) and failure.code != "interrupted":
            extra.append(("x-should-retry", "false"))
        response = RawResponse(
            self._request, status=told.status, reason=None, headers=(), extra=[*told.headers, *extra],
            length=len(told.body),
        )  # fmt: skip
        self._response = response
        await response.end(told.body)
        return response

    async def _break_off(self, response: RawResponse, recording: Recording) -> None:
        """The answer broke after its head had gone out: an event says so, and no end ever follows."""
        failure = self.live.outcome or Failure(
            code="upstream_broken", message="the answer broke off"
        )
        if recording.is_event_stream:
            event = errors.stream_event(failure.code, failure.message, self._dialect, self._call.id)
            await response.send(event)
        await response.cut()
