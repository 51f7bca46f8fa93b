"""`/-/keys`: making, listing, bounding and revoking gateway keys.

Invariants: a key's secret is told once, to who made it; nobody makes or widens a key beyond their
own; only the fields of `Form` and `Change` can be said.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from gateway.errors import BadRequest, Conflict, Forbidden
from gateway.journal import keys
from gateway.journal.filters import milliseconds
from gateway.journal.keys import Bodies, Key
from gateway.journal.shapes import Json, rfc3339
from gateway.web.calls import json_response
from gateway.web.security.audit import Audit
from gateway.web.security.auth import IDENTITY
from gateway.web.security.identity import Identity
from gateway.web.security.keyring import KeyRing

_Glob = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
_Globs = Annotated[tuple[_Glob, ...], Field(max_length=100, strict=False)]
_Bound = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
_Name = Annotated[str, Field(min_length=1, max_length=100)]


class Change(BaseModel):
    """Body of PATCH: what is left out stays; null lifts a bound."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: _Name | None = None
    expires_at: str | None = None
    upstreams: _Globs | None = None
    models: _Globs | None = None
    max_in_flight: _Bound | None = None
    max_queued: _Bound | None = None
    requests_per_minute: _Bound | None = None
    tokens_per_minute: _Bound | None = None
    tokens_per_day: _Bound | None = None
    max_body_bytes: _Bound | None = None
    bodies: Bodies | None = None

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str | None) -> str | None:
        if name is not None and not (name.isprintable() and name.strip() == name):
            raise ValueError("must be printable, without spaces around it")
        return name

    @field_validator("expires_at")
    @classmethod
    def _is_a_time(cls, text: str | None) -> str | None:
        if text is not None:
            milliseconds(text)
        return text

    def values(self) -> dict[str, Any]:
        """The fields of a `Key` that were said, as it has them."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if "expires_at" in said:
            text = said.pop("expires_at")
            said["expires_ms"] = None if text is None else milliseconds(text)
        for name, empty in (("upstreams", ()), ("models", ()), ("bodies", "full")):
            if name in said and said[name] is None:
                said[name] = empty
        return said


class Form(Change):
    """Body of POST."""

    name: _Name
    scopes: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = keys.DEFAULT_SCOPES

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(scopes) - keys.EVERY_SCOPE):
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(keys.SCOPES)}")
        return tuple(scope for scope in keys.SCOPES if scope in scopes)


def mint(body: bytes, *, by: str, now_ms: int) -> tuple[Key, str]:
    """The key that *body* describes, and its secret. Raises: BadRequest."""
    form = _read(Form, body)
    key_id, secret = keys.new_secret()
    values = {"scopes": form.scopes, **form.values()}
    key = Key(
        id=key_id, hash=keys.hash_of(secret.encode()), created_ms=now_ms, created_by=by, **values
    )
    _check_expiry(key, now_ms)
    return key, secret


def key_json(key: Key, used: Json | None = None) -> Json:
    """The key as the API shows it. *used*: what it used lately, where that is known."""
    bounds: Json = {name: getattr(key, name) for name in keys.BOUNDS}
    usage: Json = {} if used is None else {"usage": used}
    return {
        "object": "key",
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "upstreams": list(key.upstreams),
        "models": list(key.models),
        **bounds,
        "bodies": key.bodies,
        "created_at": rfc3339(key.created_ms),
        "created_by": key.created_by,
        "expires_at": rfc3339(key.expires_ms),
        "last_used_at": rfc3339(key.last_used_ms),
        "revoked_at": rfc3339(key.revoked_ms),
        **usage,
    }


def list_json(shown: list[Json]) -> Json:
    """All keys as one page."""
    data: list[JsonValue] = [*shown]
    return {
        "object": "list",
        "data": data,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": False,
    }


def detail_of(key: Key) -> Json:
    """What the audit trail says of a key."""
    shown = key_json(key)
    left_out = ("object", "id", "created_at", "created_by", "last_used_at", "revoked_at")
    return {name: shown[name] for name in shown if name not in left_out and shown[name]}


def routes(
    ring: KeyRing,
    audit: Audit,
    used: Callable[[str], dict[str, int]],
    hang_up: Callable[[str, web.Request], None],
) -> list[web.RouteDef]:
    """List, make, show, bound, revoke.

    *used* tells what a key used lately; *hang_up* ends what a revoked one has open, but one request.
    """

    def show(key: Key) -> Json:
        seen = replace(key, last_used_ms=ring.last_used_ms(key))
        return key_json(seen, {**used(key.id)})

    async def every(_: web.Request) -> web.Response:
        return json_response(list_json([show(key) for key in ring.every()]))

    async def one(request: web.Request) -> web.Response:
        return json_response(show(ring.get(request.match_info["id"])))

    async def make(request: web.Request) -> web.Response:
        by = request[IDENTITY]
        key, secret = mint(await request.read(), by=by.actor, now_ms=ring.now_ms())
        _check_within(key, by)
        await ring.add(key, audit.entry(by.actor, "key.created", key.id, detail_of(key)))
        response = json_response({**show(key), "key": secret}, status=201)
        response.headers["Location"] = f"/-/keys/{key.id}"
        return response

    async def change(request: web.Request) -> web.Response:
        by, key = request[IDENTITY], ring.get(request.match_info["id"])
        if key.revoked_ms is not None:
            raise Conflict("this key is revoked")
        values = _read(Change, await request.read()).values()
        if values.get("name", key.name) is None:
            raise BadRequest("name: cannot be null")
        wanted = replace(key, **values)
        _check_expiry(wanted, ring.now_ms())
        _check_within(wanted, by)
        entry = audit.entry(by.actor, "key.changed", key.id, detail_of(wanted))
        return json_response(show(await ring.change(wanted, entry)))

    async def revoke(request: web.Request) -> web.Response:
        by, key = request[IDENTITY], ring.get(request.match_info["id"])
        revoked = ring.revoke(key, audit.entry(by.actor, "key.revoked", key.id, {"name": key.name}))
        hang_up(key.id, request)
        await revoked
        return web.Response(status=204)

    return [
        web.get("/-/keys", every),
        web.post("/-/keys", make),
        web.get("/-/keys/{id}", one),
        web.patch("/-/keys/{id}", change),
        web.delete("/-/keys/{id}", revoke),
    ]


def _check_within(key: Key, by: Identity) -> None:
    """Nobody gives what they do not have."""
    holder = by.key or replace(key, scopes=tuple(by.scopes), **_UNBOUND)
    if not keys.is_within(key, holder):
        raise Forbidden("a key can only make keys that may do no more than itself")


_UNBOUND: dict[str, Any] = {
    **dict.fromkeys(keys.BOUNDS), "upstreams": (), "models": (), "bodies": "full", "expires_ms": None,
}  # fmt: skip


def _check_expiry(key: Key, now_ms: int) -> None:
    if key.expires_ms is not None and key.expires_ms <= now_ms:
        raise BadRequest("expires_at: is in the past")


def _read(kind: type[Any], body: bytes) -> Any:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(f"{where}: {first['msg']}") from error
