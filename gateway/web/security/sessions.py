"""The dashboard's sessions: a gateway key is shown once, a cookie stands for it from then on.

Invariants: a session is worth its key, looked at anew at every request, and ends with it; what it
has open ends with the session. Only the hash of its id is kept, and it lives in RAM: a restart
signs everybody out. It opens nothing but `/-/`, and never travels upstream.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from urllib.parse import parse_qs

from aiohttp import web
from aiohttp.web_request import BaseRequest
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from gateway.errors import BadRequest, BodyTooLarge, Refused
from gateway.journal.shapes import Json
from gateway.web import errors
from gateway.web.calls import json_response
from gateway.web.security import login
from gateway.web.security.audit import Audit
from gateway.web.security.auth import IDENTITY, Gate
from gateway.web.security.identity import HOST, Identity, of_key
from gateway.web.security.keyring import KeyRing

IDLE_S, ABSOLUTE_S = 30 * 60.0, 12 * 3600.0
MAX_SESSIONS = 1_000
MAX_LOGIN_BYTES = 8_192
LOGIN_S = 10.0  # within which these are here


@dataclass(slots=True)
class _Session:
    key_id: str | None  #: None: the token of the journal's lock file
    began: float  #: on the loop's clock, as `seen`
    seen: float

    def is_over(self, now: float) -> bool:
        return now - self.seen > IDLE_S or now - self.began > ABSOLUTE_S


class Sessions:
    """All open sessions. *is_tls*: whether a request came by TLS."""

    def __init__(
        self,
        ring: KeyRing,
        *,
        is_tls: Callable[[BaseRequest], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._ring = ring
        self._is_tls = is_tls
        self._monotonic = monotonic
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()  # by the hash of their ids

    def identify(self, request: BaseRequest) -> Identity | None:
        """Whose session a cookie of *request* names; None once it, or its key, is over."""
        name = self._shown(request)
        session = self._sessions.get(name)
        if session is None:
            return None
        now = self._monotonic()
        key = self._ring.valid(session.key_id)
        if session.is_over(now) or (session.key_id is not None and key is None):
            del self._sessions[name]
            return None
        session.seen = now
        identity = HOST if key is None else of_key(key)
        return replace(identity, actor=f"session:{identity.actor}", session=name)

    def is_open(self, name: bytes) -> bool:
        """Whether the session of that name opens anything; looking at it does not prolong it."""
        session = self._sessions.get(name)
        return session is not None and not session.is_over(self._monotonic())

    def begin(self, identity: Identity, request: BaseRequest, response: web.StreamResponse) -> None:
        """Give the browser that sent *request* a new session of that key."""
        session_id = secrets.token_urlsafe(32)
        now = self._monotonic()
        key_id = None if identity.key is None else identity.key.id
        self._sessions[_hash(session_id)] = _Session(key_id, now, now)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._set(request, response, session_id, int(ABSOLUTE_S))

    def end(self, request: BaseRequest, response: web.StreamResponse) -> None:
        """Forget the session of *request*, here and in the browser."""
        self._sessions.pop(self._shown(request), None)
        self._set(request, response, "", 0)

    def _shown(self, request: BaseRequest) -> bytes:
        """The hash of the session id that *request* shows.

        What was set without TLS, where anybody on the way can set it, counts for nothing with TLS.
        """
        return _hash(request.cookies.get(self._cookie(request), ""))

    def _cookie(self, request: BaseRequest) -> str:
        """The cookie's name; a browser takes one with this prefix only from us and only by TLS."""
        return "__Host-gw" if self._is_tls(request) else "gw"

    def _set(
        self, request: BaseRequest, response: web.StreamResponse, value: str, max_age_s: int
    ) -> None:
        tls = self._is_tls(request)
        response.set_cookie(
            self._cookie(request), value, max_age=max_age_s, httponly=True, samesite="Strict",
            secure=tls or None, path="/" if tls else "/-/",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Signing in and out, for people without script and for scripts; and who one is."""

    sessions: Sessions
    gate: Gate
    audit: Audit
    address_of: Callable[[BaseRequest], str]  #: the client's
    required: Callable[[], bool]  #: whether a key is
    files: str  #: where the dashboard's are, relative to the form

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/-/ui/login", self.page),
            web.post("/-/ui/login", self.submit),
            web.post("/-/ui/logout", self.leave),
            web.get("/-/session", self.show),
            web.post("/-/session", self.make),
            web.delete("/-/session", self.remove),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """`GET /-/ui/login`; `next` in its query: the page of the dashboard to go to then."""
        return login.form(self.files, after=request.query.get("next", ""))

    async def submit(self, request: web.Request) -> web.Response:
        """`POST /-/ui/login`: the page's form; then the dashboard, or the page with what was wrong."""
        after = ""
        try:
            fields = parse_qs((await _small_body(request)).decode("latin-1"), max_num_fields=8)
            after = login.safe(fields.get("next", [""])[0])
            response = web.Response(status=303, headers={"Location": f"./{after}"})
            self._begin(request, fields.get("key", [""])[0], response)
        except (Refused, ValueError) as error:
            refused = error if isinstance(error, Refused) else BadRequest("this is no form")
            told = errors.problem(refused, path=request.path)
            return login.form(self.files, after=after, message=refused.message, told=told)
        return response

    async def leave(self, request: web.Request) -> web.Response:
        """`POST /-/ui/logout`: back to the form."""
        response = web.Response(status=303, headers={"Location": "login"})
        self._end(request, response)
        return response

    async def show(self, request: web.Request) -> web.Response:
        """`GET /-/session`: who asks, and what they may."""
        return json_response(self._json(request[IDENTITY]))

    async def make(self, request: web.Request) -> web.Response:
        """`POST /-/session`: the same as the form, for scripts: `{"key"}`."""
        try:
            given = _Login.model_validate_json(await _small_body(request))
        except ValidationError as error:
            raise BadRequest('the body must be {"key": "…"}') from error
        response = web.Response(content_type="application/json")
        response.body = to_json(self._json(self._begin(request, given.key, response)))
        return response

    async def remove(self, request: web.Request) -> web.Response:
        """`DELETE /-/session`: signed out."""
        response = web.Response(status=204)
        self._end(request, response)
        return response

    def _begin(
        self, request: web.Request, presented: str, response: web.StreamResponse
    ) -> Identity:
        identity = self.gate.login(request, presented.strip().encode("utf-8", "surrogateescape"))
        self.sessions.end(request, response)  # an id from before is worth nothing any more
        self.sessions.begin(identity, request, response)
        address = self.address_of(request)
        self.audit.record(f"session:{identity.actor}", "login", None, {"address": address})
        return identity

    def _end(self, request: web.Request, response: web.StreamResponse) -> None:
        identity = request.get(IDENTITY)
        if identity is not None and identity.by_session:
            self.audit.record(identity.actor, "logout")
        self.sessions.end(request, response)

    def _json(self, identity: Identity) -> Json:
        key = identity.key
        return {
            "object": "session",
            "required": self.required(),
            "actor": identity.actor,
            "by_session": identity.by_session,
            "key": None if key is None else {"id": key.id, "name": key.name},
            "scopes": [*sorted(identity.scopes)],
        }


class _Login(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    key: str


async def _small_body(request: web.Request) -> bytes:
    """A body from somebody who is not known yet. Raises: BodyTooLarge, BadRequest - it drips."""
    body = b""
    try:
        async with asyncio.timeout(LOGIN_S):
            while piece := await request.content.readany():
                body += piece
                if len(body) > MAX_LOGIN_BYTES:
                    raise BodyTooLarge("this is longer than any key")
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {LOGIN_S:g} s") from None
    return body


def _hash(session_id: str) -> bytes:
    return sha256(session_id.encode("utf-8", "surrogateescape")).digest()
