"""One attempt over aiohttp. Every failure is a value in the `Attempt`; only a cancel is raised.

Invariants: one attempt is at most one request on the wire (aiohttp's silent resend is off); after
anything but a whole answer the connection is closed, never reused; bytes are recorded as they came
(no decompression, no redirects, no cookies, no proxies of the environment).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import hdrs
from typing_extensions import override
from yarl import URL

from gateway import config
from gateway.call import PART_BYTES, Attempt, Failure, Headers, Outcome, Request
from gateway.relay.recording import Recording
from gateway.telemetry.logs import redact_text

_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive",
    b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
    b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab
_CONNECTED: ContextVar[Callable[[], None]] = ContextVar("_CONNECTED")
_HEADERS: ContextVar[Headers] = ContextVar("_HEADERS")
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
_OURS_TO_WRITE = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class _Connector(aiohttp.TCPConnector):
    """Tells the attempt when its connection stands, so that each phase has its own timeout."""

    @override
    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super().connect(*args, **kwargs)
        while connection.protocol is None or connection.protocol.should_close:
            connection.close()  # bytes came while it was idle: they would answer this request
            connection = await super().connect(*args, **kwargs)
        _CONNECTED.get()()
        return connection


class _Request(aiohttp.ClientRequest):
    """Sends the client's fields as they are: the session would merge repeated ones by name."""

    @override
    def update_headers(self, headers: Any) -> None:
        super().update_headers(None)  # Host
        for name, value in _HEADERS.get():
            self.headers.add(name.decode("latin-1"), _text(value))


STOOD_STILL_S = 0.5  # a timer that is later than this tells of a process that did not run
GRACE_S = 1.0


class Upstream:
    """One external AI API: its session, its credential and its timeouts."""

    def __init__(
        self, settings: config.Upstream, base_url: str, session: aiohttp.ClientSession
    ) -> None:
        self.settings = settings
        self._base = URL(base_url, encoded=True)
        self._base_path = self._base.raw_path.rstrip("/")
        self._session = session
        self._credential = _credential(settings)

    async def attempt(
        self,
        attempt: Attempt,
        request: Request,
        target: str,
        recording: Recording,
        *,
        within_s: float | None,
        now: Callable[[], float],
        on_head: Callable[[], None],
    ) -> None:
        """Send *request* to *target* once and report in *attempt* how it went.

        Time:    min(total_s, within_s); connect, first byte and idle each have their own bound
        Raises:  asyncio.CancelledError only; the connection is closed by then
        """
        phases = _Phases(self.settings.timeouts, within_s)
        try:
            with phases:
                await self._exchange(attempt, request, target, recording, phases, now, on_head)
        except TimeoutError:
            attempt.outcome = Outcome.TIMED_OUT
            attempt.failure = Failure(code=phases.late, message=self._late(phases.late))
        except aiohttp.ClientConnectorError as error:
            _let_go(error)
            attempt.outcome = Outcome.UNREACHABLE
            attempt.failure = Failure(
                code="upstream_unreachable",
                message=f"cannot reach {self.settings.name}: {_why(error)}",
                hopeless=isinstance(error, aiohttp.ClientConnectorCertificateError),
            )
        except (aiohttp.ClientError, ValueError, OSError) as error:
            _let_go(error)
            attempt.outcome = Outcome.BROKEN
            message = (
                f"{self.settings.name} broke off or sent no valid HTTP ({type(error).__name__})"
            )
            attempt.failure = Failure(code="upstream_broken", message=message)
        except asyncio.CancelledError:
            attempt.outcome = Outcome.CANCELLED
            raise
        finally:
            recording.end(complete=attempt.outcome is Outcome.ANSWERED)

    async def _exchange(
        self,
        attempt: Attempt,
        request: Request,
        target: str,
        recording: Recording,
        phases: "_Phases",
        now: Callable[[], float],
        on_head: Callable[[], None],
    ) -> None:
        """Request out, answer in; leaving before its end closes the connection."""
        _CONNECTED.set(phases.connected)
        _HEADERS.set(self._with_credential(request.headers))
        body = request.body
        if request.body_bytes > PART_BYTES:
            request.body = None  # sent, a large body leaves RAM: the journal has it for a retry
        async with self._session.request(
            request.method,
            self._url(target),
            headers=None,  # see _Request
            data=BytesIO(body) if body and len(body) > PART_BYTES else body or None,
            allow_redirects=False,
        ) as response:
            del body
            if response.status < 200:
                response.close()
                raise ValueError("the protocol was switched, unasked")
            try:
                _check_head(response)
                attempt.first_byte_at = now()
                recording.begin(
                    status=response.status,
                    reason=response.reason,
                    headers=end_to_end(response.raw_headers),
                    declared=_declared(response),
                    is_bodyless=request.method == "HEAD" or response.status in (204, 304),
                )
                on_head()
                while True:
                    phases.read()
                    data = await response.content.readany()
                    if not data:
                        break
                    await recording.append(data)
            except BaseException:
                response.close()  # never back to the pool: the rest of this answer is still to come
                raise
            attempt.outcome = Outcome.ANSWERED

    def _with_credential(self, headers: Headers) -> Headers:
        """The upstream's own credential, where it has one, in place of whatever the client sent."""
        if self._credential is None:
            return headers
        kept = tuple(field for field in headers if field[0].lower() not in CREDENTIALS)
        return kept + self._credential

    def _url(self, target: str) -> URL:
        """base_url + target, byte for byte: all of it is path to yarl, so no target can hold a host.

        As path and query, an empty query would lose its `?`.
        """
        return self._base.with_path(self._base_path + target, encoded=True)

    def _late(self, code: str) -> str:
        limits = self.settings.timeouts
        return {
            "connect_timeout": f"no connection to {self.settings.name} within {limits.connect_s:g} s",
            "first_byte_timeout": f"{self.settings.name} sent nothing within {limits.first_byte_s:g} s",
            "idle_timeout": f"{self.settings.name} fell silent for {limits.idle_s:g} s within its answer",
            "total_timeout": f"{self.settings.name} was not done within {limits.total_s:g} s",
        }.get(code, "the call's deadline passed while the upstream worked")


class _Phases:
    """The one timer of an attempt; `late` names the bound that passed.

    Like `asyncio.timeout`, but a bound that moves on costs nothing: the timer looks, when it fires,
    whether it is due. (Three reschedules a call and one a chunk were 3 % of a relayed call.)
    """

    def __init__(self, limits: config.Timeouts, within_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._limits = limits
        self._time, self._call_at = loop.time, loop.call_at
        started = self._time()
        self._ends, self._end = started + limits.total_s, "total_timeout"
        if within_s is not None and within_s < limits.total_s:
            self._ends, self._end = started + within_s, "deadline_exceeded"
        self._phase, self._due = "connect_timeout", min(started + limits.connect_s, self._ends)
        self._passed = False
        self._task: asyncio.Task[object] | None = None

    @property
    def late(self) -> str:
        """The code of the timeout, once it happened."""
        return self._end if self._time() >= self._ends else self._phase

    def connected(self) -> None:
        """The connection stands; from here on the upstream has first_byte_s."""
        self._move("first_byte_timeout", self._limits.first_byte_s)

    def read(self) -> None:
        """The next read begins; the upstream may be silent for idle_s."""
        self._move("idle_timeout", self._limits.idle_s)

    def __enter__(self) -> None:
        if self._time() >= self._ends:
            raise TimeoutError  # nothing is sent: on a kept connection it would be, before the timer
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self._arm()

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._timer.cancel()
        del self._timer  # it keeps the context, and that, like the task's, leads here: no cycle
        task, self._task = self._task, None
        ours = self._passed and task is not None and task.uncancel() <= self._cancels
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError  # somebody else's cancel, if there is one, goes first

    def _move(self, phase: str, within_s: float) -> None:
        self._phase, self._due = phase, min(self._time() + within_s, self._ends)
        if self._due < self._armed_for:
            self._timer.cancel()
            self._arm()

    def _arm(self) -> None:
        self._armed_for = self._due
        self._timer = self._call_at(self._due, self._fire)

    def _fire(self) -> None:
        now = self._time()
        if now - self._armed_for > STOOD_STILL_S:
            # Stopped or suspended, the process read nothing: what came meanwhile goes first.
            self._due = max(self._due, now + GRACE_S)
        if now < self._due:
            self._arm()
        else:
            self._passed = True
            if self._task is not None:
                self._task.cancel()


def _credential(settings: config.Upstream) -> Headers | None:
    """What takes the place of a client's credential; None: nothing does. No record ever sees it."""
    if settings.is_mock:
        return ()
    if settings.api_key is None:
        return None
    secret = settings.api_key.get_secret_value().encode()
    if settings.auth == "bearer":
        return ((b"Authorization", b"Bearer " + secret),)
    return ((settings.auth.encode(), secret),)


def end_to_end(raw: Headers) -> Headers:
    """*raw* without hop-by-hop fields, without every name that Connection lists, without our framing.

    Source: RFC 9110 §7.6.1
    """
    drop = _HOP_BY_HOP
    listed = [value for name, value in raw if name.lower() == b"connection"]
    if listed:
        drop = drop | {name.strip().lower() for name in b",".join(listed).split(b",")}
    return tuple(
        (name, value)
        for name, value in raw
        if (lower := name.lower()) not in drop and lower != b"content-length"
    )


def _check_head(response: aiohttp.ClientResponse) -> None:
    """Refuse what the lenient parser of answers let pass, before it is written to a client.

    Raises: ValueError
    """
    lines = [each for field in response.raw_headers for each in field]
    lines.append((response.reason or "").encode("utf-8", "surrogateescape"))
    if _CONTROLS.search(b"".join(lines)):
        raise ValueError("the head holds control characters")


def _declared(response: aiohttp.ClientResponse) -> int | None:
    if b"transfer-encoding" in {name.lower() for name, _ in response.raw_headers}:
        return None
    return response.content_length


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for one upstream: no bound, cookie, redirect, proxy or timeout but ours."""
    connector = _Connector(limit=0, limit_per_host=0)
    async with aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        raise_for_status=False,
        skip_auto_headers=_OURS_TO_WRITE,
        read_bufsize=2**18,
    ) as session:
        # GET, HEAD, PUT and DELETE would be sent once more, silently, when a kept connection drops:
        # an attempt that nobody journalled. There is no public switch (aiohttp 3.14).
        session._retry_connection = False
        yield session


def _text(value: bytes) -> str:
    """What aiohttp's writer, which encodes as UTF-8, turns into *value* again.

    Bytes that are no UTF-8 are taken for Latin-1, the only other encoding in use (RFC 9110 §5.5).
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _let_go(error: BaseException | None) -> None:
    """Drop the frames of *error*: they hold the call, and aiohttp's reader keeps what it raised.

    A cycle through both stays until the collector finds it: 0.5 KB a call where calls break.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _why(error: aiohttp.ClientConnectorError) -> str:
    """What the system said, without the address: that is the operator's business, not a client's."""
    return redact_text(error.os_error.strerror or type(error).__name__)
