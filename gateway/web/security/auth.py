"""The gate around every route: who asks (401), and whether they may (404, 403).

Invariants: nothing of a body is read, and no `100 Continue` sent, before a request has passed; what
goes wrong while it is checked is 401, never an empty identity; rights hang on the resolved route
(`access.py`), and what is not listed there is closed. Another client's call is 404 before any 403.
"""

import asyncio
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.web_request import BaseRequest
from pydantic import JsonValue

from gateway import config
from gateway.errors import AuthThrottled, Forbidden, KeyLimit, NotFound, Unauthorized
from gateway.journal.redaction import redact_query
from gateway.journal.shapes import Json
from gateway.web import headers
from gateway.web.dependencies import OWNER
from gateway.web.security.access import Access
from gateway.web.security.audit import Audit
from gateway.web.security.forwarding import came_by_tls, client_address
from gateway.web.security.identity import ANYBODY, Identity
from gateway.web.security.limits import Minute

log = structlog.get_logger()

PER_ADDRESS, IN_ALL = 20, 500  # wrong keys a minute, before the answer is 429
STILL_VALID_S = 1.0  # between two looks at the key and the session of what stays open
MUCH_AT_ONCE = 4  # requests of one key that may read much of the journal; …
MUCH_AT_ONCE_BY_PEOPLE = 32  # … of commands and the dashboard: its overview asks for 12 at once
ADDRESSES = 10_000  # whose wrong keys are counted at a time

IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)

_KEY_ID = re.compile(r"[a-z2-7]{16}")
_NO_KEY = (
    "a gateway key is needed, in x-gateway-key, Authorization: Bearer, x-api-key, api-key or"
    " x-goog-api-key"
)


class Keys(Protocol):
    """Where keys are known. The key ring is one."""

    def identify(self, presented: bytes) -> Identity | None:
        """Whose key that is."""
        ...

    def valid(self, key_id: str | None) -> object | None:
        """That key, while it opens anything."""
        ...


class Sessions(Protocol):
    """Where the dashboard's sessions are known."""

    def identify(self, request: BaseRequest) -> Identity | None:
        """Whose session a cookie of *request* names."""
        ...

    def is_open(self, name: bytes) -> bool:
        """Whether that session (`Identity.session`) opens anything."""
        ...


class Failures:
    """Counts wrong keys by address and in all. Right ones always pass."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._all = Minute()
        self._by_address: OrderedDict[str, Minute] = OrderedDict()

    def count(self, address: str) -> None:
        """One more. Raises: AuthThrottled, where there were too many already."""
        now = self._monotonic()
        minute = self._by_address.setdefault(address, Minute())
        self._by_address.move_to_end(address)
        if len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)
        for counted, limit in ((minute, PER_ADDRESS), (self._all, IN_ALL)):
            counted.drop_old(now)
            if counted.total >= limit:
                raise AuthThrottled(retry_after_s=counted.below_in_s(limit, now))
        minute.add(1, now)
        self._all.add(1, now)


class Gate:
    """Knows who asks, and what each route needs."""

    def __init__(
        self,
        *,
        keys: Keys,
        sessions: Sessions,
        routes: Mapping[str, Access],
        settings: Callable[[], config.Config],
        monotonic: Callable[[], float],
        client_of: Callable[[str], Awaitable[str | None]],
        audit: Audit,
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._routes = routes
        self._settings = settings
        self._failures = Failures(monotonic)
        self._client_of = client_of
        self._audit = audit
        self._open: dict[str, list[web.Request]] = {}  # being answered, by the id of their key
        self._reading_much: Counter[str] = Counter()  # requests being answered, by actor

    # 1 -- who asks

    def relayed(self, request: BaseRequest, query: str, dialect: str) -> Identity:
        """Who sends this request for an upstream. Raises: Unauthorized, Forbidden, AuthThrottled."""
        identity = self._identify(
            request, headers.gateway_keys(request.raw_headers, query, dialect)
        )
        if identity is None:
            raise Unauthorized(_NO_KEY)
        if not identity.has("relay"):
            raise Forbidden("this key has no scope relay")
        return identity

    def own(self, request: web.Request) -> None:
        """Note who asks for one of the gateway's own routes. Raises: Unauthorized, AuthThrottled."""
        identity = self._identify(request, headers.gateway_keys(request.raw_headers))
        if identity is None or identity is ANYBODY:
            identity = self._sessions.identify(request) or identity
        if identity is not None:
            request[IDENTITY] = identity

    def _identify(self, request: BaseRequest, presented: list[bytes]) -> Identity | None:
        """The identity, None where nothing is shown and a key is required."""
        try:
            known = [self._keys.identify(key) for key in presented]
        except Exception as error:  # noqa: BLE001, RUF100 - whatever fails here must let nobody in
            log.exception("authentication_failed")
            raise Unauthorized("the key could not be checked") from error
        if None in known:
            address = client_address(request, self._settings().server)
            self._failures.count(address)
            log.warning("wrong_key", address=address)
            raise Unauthorized("this gateway key is not valid")
        if known:
            return known[0]
        return None if self._settings().auth.required else ANYBODY

    def login(self, request: BaseRequest, presented: bytes) -> Identity:
        """Whose key is shown at the door. Raises: Unauthorized, AuthThrottled."""
        identity = self._identify(request, [presented])
        assert identity is not None
        return identity

    # 2 -- whether they may

    async def authorize(self, request: web.Request) -> None:
        """Let *request* through to the route that it resolved to, or raise.

        A route of calls then sees only what is this identity's to see: `OWNER`.

        Raises: Unauthorized, NotFound, Forbidden
        """
        access = self._access(request)
        identity = request.get(IDENTITY)
        if access is None or not access.public:
            if identity is None:
                raise Unauthorized(_NO_KEY)
            _check_sent_by_us(identity, request, self._settings().server)
        if identity is None or access is None:
            return  # public, or nothing is there: the router says so
        if access.of_calls:
            await self._check_calls(access.scope, identity, request)
        elif access.scope and not identity.has(access.scope):
            raise Forbidden(f"this needs the scope {access.scope}")

    def is_public(self, request: web.Request) -> bool:
        """Whether *request* is for a route that is open to everybody."""
        access = self._access(request)
        return access is not None and access.public

    def note(self, request: web.Request, asked: JsonValue = None) -> asyncio.Future[None] | None:
        """Have *request* written to the audit trail, where its route wants that; *asked*: its body."""
        access, identity = self._access(request), request.get(IDENTITY)
        if access is None or access.audit is None or identity is None:
            return None
        named = request.match_info.get("id") or request.match_info.get("name")
        target = named or _key_meant(request)
        detail: Json = {"query": redact_query(request.query_string)} if request.query_string else {}
        if asked is not None:
            detail["body"] = asked
        if request.method in ("GET", "HEAD"):
            return self._audit.record_reading(identity.actor, access.audit, detail)
        return self._audit.record(identity.actor, access.audit, target, detail)

    @contextmanager
    def one_of_few(self, request: web.Request) -> Iterator[None]:
        """While *request* is answered: one of few, if it may read much. Raises: KeyLimit."""
        access, identity = self._access(request), request.get(IDENTITY)
        if access is None or identity is None or not access.reads_much(request.query.keys()):
            yield
            return
        reading, actor = self._reading_much, identity.actor
        is_program = identity.key is not None and not identity.by_session
        most = MUCH_AT_ONCE if is_program else MUCH_AT_ONCE_BY_PEOPLE
        if reading[actor] >= most:
            raise KeyLimit(
                f"{most} searches, counts, exports or bulk actions are under way already"
            )
        reading[actor] += 1
        try:
            yield
        finally:
            reading[actor] -= 1

    @contextmanager
    def watching(self, request: web.Request) -> Iterator[None]:
        """While *request* is answered: its connection ends with the key or the session that opened it."""
        identity = request.get(IDENTITY)
        if identity is None or (identity.key is None and not identity.by_session):
            yield
            return
        loop = asyncio.get_running_loop()

        def look() -> None:
            if self._is_valid(identity):
                timers.append(loop.call_later(STILL_VALID_S, look))
            elif request.transport is not None:
                request.transport.close()

        timers = deque([loop.call_later(STILL_VALID_S, look)], maxlen=1)
        key_id = "" if identity.key is None else identity.key.id
        open_here = self._open.setdefault(key_id, [])
        open_here.append(request)
        try:
            yield
        finally:
            timers[0].cancel()
            open_here.remove(request)
            if not open_here:
                self._open.pop(key_id, None)

    def _is_valid(self, identity: Identity) -> bool:
        if identity.key is not None and self._keys.valid(identity.key.id) is None:
            return False
        return identity.session is None or self._sessions.is_open(identity.session)

    def hang_up(self, key_id: str, but: web.Request) -> None:
        """End what that key has open here, except *but*."""
        for request in [*self._open.get(key_id, ())]:
            if request is not but and request.transport is not None:
                request.transport.close()

    def _access(self, request: web.Request) -> Access | None:
        """What the resolved route needs; None where nothing is at this path."""
        resource = request.match_info.route.resource
        if resource is None:
            return None
        method = "GET" if request.method == "HEAD" else request.method
        access = self._routes.get(f"{method} {resource.canonical}")
        if access is None:
            log.error("route_is_closed", method=method, route=resource.canonical)
            raise Forbidden(
                "this route is closed: web/security/access.py does not say what it needs"
            )
        return access

    async def _check_calls(self, what: str, identity: Identity, request: web.Request) -> None:
        """Set whose calls are seen.

        Without `…-all` that is one's own: others are 404 like those that do not exist, unless
        `read-all` shows them anyway; then what may not be done to them is 403.
        """
        own, every = f"{what}-own", f"{what}-all"
        if identity.has(every):
            return
        call_id = request.match_info.get("id")
        if identity.has(own) and not (call_id and identity.has("read-all")):
            if identity.client is not None:
                request[OWNER] = identity.client
            return
        if call_id is not None:
            client = await self._client_of(call_id)
            is_own = client is not None and client == identity.client
            if client is None or not (is_own or identity.has("read-all")):
                raise NotFound("there is no such call")
            if is_own and identity.has(own):
                return
        raise Forbidden(f"this needs the scope {own if call_id is None else every}")


def _key_meant(request: web.Request) -> str | None:
    """The id of the key whose calls a filter chooses: that is no secret, as a whole key would be."""
    key_id = request.query.get("key", "")
    return key_id if _KEY_ID.fullmatch(key_id) else None


def _check_sent_by_us(identity: Identity, request: web.Request, server: config.Server) -> None:
    """What changes something by a session was sent by the dashboard, not by another page."""
    if not identity.by_session or request.method in ("GET", "HEAD"):
        return
    if not headers.is_same_origin(request.raw_headers, by_tls=came_by_tls(request, server)):
        raise Forbidden("changing something by a session needs x-gateway-csrf or the page's Origin")
