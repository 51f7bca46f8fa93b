"""Everything that decides who may do what, put together: keys, sessions, limits, the gate, the trail.

Invariant: every request passes the gate, whichever face of the gateway it asks.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from gateway import config
from gateway.call import Headers, header
from gateway.decoding import Decoder
from gateway.errors import Forbidden
from gateway.journal.keys import Key, matches
from gateway.journal.reader import Reader
from gateway.journal.writer import Journal
from gateway.web import members, routing
from gateway.web.security import access, audit, keys
from gateway.web.security.audit import Audit
from gateway.web.security.auth import Gate
from gateway.web.security.forwarding import came_by_tls, client_address
from gateway.web.security.identity import Identity
from gateway.web.security.keyring import KeyRing
from gateway.web.security.limits import KeyLimits
from gateway.web.security.sessions import Doors, Sessions

MOST_BYTES = 33_554_432  # of an inflated body that is looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What the rest of the house asks of this part."""

    ring: KeyRing
    limits: KeyLimits
    sessions: Sessions
    gate: Gate
    audit: Audit
    settings: Callable[[], config.Config]

    def routes(self, *, required: Callable[[], bool], files: str) -> list[web.RouteDef]:
        """Keys, sessions and the audit trail."""
        return [
            *keys.routes(self.ring, self.audit, self.limits.used, self.gate.hang_up),
            *Doors(
                sessions=self.sessions,
                gate=self.gate,
                audit=self.audit,
                address_of=lambda request: client_address(request, self.settings().server),
                required=required,
                files=files,
            ).routes(),
            *audit.routes(),
        ]

    def keys_of_replay(self, key_id: str | None, by: Identity | None) -> tuple[Key, ...]:
        """Whose bounds a call of the key *key_id* has to keep when *by* sends it again."""
        by_key = None if by is None else by.key
        return tuple(key for key in (by_key, self.ring.valid(key_id)) if key is not None)

    def admit_replay(self, by: Identity | None) -> None:
        """Count it. Raises: KeyLimit."""
        if by is not None and by.key is not None:
            self.limits.admit(by.key)


async def make_guard(
    *,
    journal: Journal,
    reader: Reader,
    settings: Callable[[], config.Config],
    token: str,
    now: Callable[[], float],
    limit_key: Callable[[str, int | None, int | None], None],
) -> Guard:
    """The guard with all keys that the journal knows; *token* opens everything."""
    monotonic = asyncio.get_running_loop().time
    limits = KeyLimits(now=now, monotonic=monotonic)
    limits.resume(await reader.key_usage(limits.today()))
    ring = KeyRing(
        journal=journal, known=await reader.keys(), token=token, now=now,
        limit=limit_key,
    )  # fmt: skip
    trail = Audit(journal, now)
    open_sessions = Sessions(
        ring, is_tls=lambda request: came_by_tls(request, settings().server), monotonic=monotonic
    )

    async def client_of(call_id: str) -> str | None:
        record = await reader.call(call_id)
        return None if record is None else record.row.client

    gate = Gate(
        keys=ring, sessions=open_sessions, routes=access.ROUTES, settings=settings,
        monotonic=monotonic, client_of=client_of, audit=trail,
    )  # fmt: skip
    return Guard(
        ring=ring, limits=limits, sessions=open_sessions, gate=gate, audit=trail, settings=settings
    )


def check_allowed(key: Key, upstream: str, path: str, raw: Headers, body: bytes) -> None:
    """Refuse what *key* may not use. Raises: Forbidden.

    A key for some models needs one of them named, in the JSON body or as `/models/{model}` in the
    path, and no other beside it, not even as a fallback.
    """
    if not matches(key.upstreams, upstream):
        raise Forbidden(f"this key may not use the upstream {upstream}")
    if not key.models:
        return
    named = _models(path, raw, body)
    if not named:
        raise Forbidden("this key may use some models only, and the request names none")
    for model in named:
        if not (isinstance(model, str) and matches(key.models, model)):
            raise Forbidden(f"this key may not use the model {str(model)[:200]!r}")


def _models(path: str, raw: Headers, body: bytes) -> list[object]:
    """All models that a request names: which of several an upstream takes is not known here.

    Whatever an upstream might make of it counts: Go's JSON takes `MODEL` for `model`, a server
    decodes its path, a deployment (Azure) is a model by another name, `models` (OpenRouter) lists
    those to fall back on.

    Raises: Forbidden, where that cannot be told
    """
    decoded = unquote(path)
    named: list[object] = [*_DEPLOYMENT.findall(decoded)]
    in_path = routing.model_in_path(path) or routing.model_in_path(decoded)
    if in_path is not None:
        named.append(in_path)
    elif _MODELS.search(decoded):
        return []  # a model that cannot be told
    decoder = Decoder(header(raw, b"content-encoding"), most_bytes=MOST_BYTES)
    plain = decoder.feed(body)
    if decoder.failed:
        return named
    for name, value in members.top_level(plain, lists=("models",)):
        folded = name.casefold()  # as Go does: a long s is an s
        if folded == "model":
            named.append(members.text(value))
        elif folded == "models":
            fallbacks = members.strings(value)
            if fallbacks is None:
                raise Forbidden("this key may use some models only, and models is no list of names")
            named += fallbacks
    return named


_DEPLOYMENT = re.compile(r"/deployments/([^/]+)", re.IGNORECASE)
_MODELS = re.compile(r"models/.", re.IGNORECASE)
