"""Gateway keys as the journal keeps them, and what a key's scopes and bounds mean.

Invariants: the secret is shown once, to who made the key, and only its hash is kept; a key gives
nothing that its maker does not have (`is_within`); a revoked key stays revoked.
"""

import base64
import hashlib
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Literal

from pydantic_core import from_json, to_json

from gateway.journal.audit import Entry, insert_entry
from gateway.journal.transaction import transaction

PREFIX = "gw_"
SCOPES = ("relay", "read-own", "operate-own", "read-all", "operate-all", "admin")
DEFAULT_SCOPES = SCOPES[:3]
EVERY_SCOPE = frozenset(SCOPES)
DAY_MS = 86_400_000
KEEP_USAGE_DAYS = 32

#: What else a scope gives.
_INCLUDED = {
    "read-all": frozenset({"read-own"}),
    "operate-all": frozenset({"operate-own", "read-all", "read-own"}),  # what it does, it shows
    "admin": EVERY_SCOPE,
}

Bodies = Literal["full", "metadata", "none"]
_KEPT = {"none": 0, "metadata": 1, "full": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without its secret. Bounds that are None, and lists that are empty, bound nothing."""

    id: str
    name: str
    hash: bytes  #: sha256 of the whole key
    scopes: tuple[str, ...]  #: as they were given; see `effective`
    upstreams: tuple[str, ...] = ()  #: globs
    models: tuple[str, ...] = ()  #: globs
    max_in_flight: int | None = None
    max_queued: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    max_body_bytes: int | None = None
    bodies: Bodies = "full"  #: what the journal keeps of its calls
    created_ms: int
    created_by: str  #: as an audit entry names its actor
    expires_ms: int | None = None
    last_used_ms: int | None = None
    revoked_ms: int | None = None

    def is_valid(self, now_ms: float) -> bool:
        """Whether it opens anything at that time."""
        expired = self.expires_ms is not None and now_ms >= self.expires_ms
        return self.revoked_ms is None and not expired

    @property
    def effective(self) -> frozenset[str]:
        """All scopes it has: those given, and those that they include."""
        return effective(self.scopes)


BOUNDS = (
    "max_in_flight", "max_queued", "requests_per_minute", "tokens_per_minute", "tokens_per_day",
    "max_body_bytes",
)  # fmt: skip
CHANGEABLE = ("name", "upstreams", "models", *BOUNDS, "bodies", "expires_ms")
_NAMES = tuple(field.name for field in fields(Key))
_LISTS = ("scopes", "upstreams", "models")
_COLUMNS = ", ".join(_NAMES)
_PLACES = ", ".join(f":{name}" for name in _NAMES)
_CHANGES = ", ".join(f"{name} = :{name}" for name in CHANGEABLE)

SELECT = f"SELECT {_COLUMNS} FROM keys ORDER BY created_ms, id"  # noqa: S608 - names of our own
INSERT = f"INSERT INTO keys ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608
CHANGE = f"UPDATE keys SET {_CHANGES} WHERE id = :id"  # noqa: S608
REVOKE = "UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL"
USED = "UPDATE keys SET last_used_ms = max(coalesce(last_used_ms, 0), ?) WHERE id = ?"
USAGE = "SELECT key_id, tokens FROM key_usage WHERE day = ?"
FORGET_USAGE = "DELETE FROM key_usage WHERE day < ?"

#: The writer's step; see `Journal.work`.
Step = Callable[[sqlite3.Connection], bool]


def effective(scopes: Iterable[str]) -> frozenset[str]:
    """*scopes*, as far as they exist, and all that they include."""
    known = EVERY_SCOPE & set(scopes)
    return known.union(*(_INCLUDED.get(scope, frozenset()) for scope in known))


def hash_of(secret: bytes) -> bytes:
    """What is kept of a whole key. It is random, so a fast hash guards it as well as a slow one."""
    return hashlib.sha256(secret).digest()


def new_secret() -> tuple[str, str]:
    """The id and the whole text of a new key, with 200 random bits."""
    key_id = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    secret = base64.b32encode(secrets.token_bytes(25)).decode().lower()
    return key_id, f"{PREFIX}{key_id}_{secret}"


def key_in(credential: bytes) -> bytes | None:
    """The gateway key that a *credential* is, or holds; None: it is somebody else's.

    Whatever begins like one is one, after any scheme and any blanks (RFC 9110 §11.4 has one space,
    clients send what they like); a whole one is found wherever it stands, in Basic's user too.
    """
    words = credential.split()
    for word in words:
        if word.lower().startswith(_PREFIX):
            return word
    if len(words) > 1 and words[0].lower() == b"basic":
        credential += b" " + _unpacked(words[1])
    found = _WHOLE.search(credential)
    return None if found is None else found[0]


def _unpacked(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(_URL_SAFE) + b"==")
    except ValueError:
        return b""


_PREFIX = PREFIX.encode()
_WHOLE = re.compile(rb"gw_[a-z2-7]{16}_[a-z2-7]{40}", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def id_in(presented: bytes) -> str:
    """The id that a *presented* key claims; "" where it has none."""
    return presented[len(PREFIX) :].partition(b"_")[0].decode("latin-1")


def is_within(new: Key, maker: Key) -> bool:
    """Whether *new* allows nothing that *maker* does not."""
    return (
        new.effective <= maker.effective
        and _globs_within(new.upstreams, maker.upstreams)
        and _globs_within(new.models, maker.models)
        and all(_bound_within(getattr(new, name), getattr(maker, name)) for name in BOUNDS)
        and _bound_within(new.expires_ms, maker.expires_ms)
        and _KEPT[new.bodies] <= _KEPT[maker.bodies]
    )


def matches(globs: tuple[str, ...], name: str) -> bool:
    """Whether *globs* let *name* through."""
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def _globs_within(new: tuple[str, ...], allowed: tuple[str, ...]) -> bool:
    """Each is allowed as it stands, or is a plain name that an allowed glob matches."""
    if not allowed:
        return True
    plain = frozenset("*?[")
    return bool(new) and all(
        glob in allowed or (not plain & set(glob) and matches(allowed, glob)) for glob in new
    )


def _bound_within(new: int | None, allowed: int | None) -> bool:
    return allowed is None or (new is not None and new <= allowed)


def insert(key: Key, entry: Entry) -> Step:
    """Record a new key and who made it."""
    return _changing(INSERT, _row(key), entry)


def change(key: Key, entry: Entry) -> Step:
    """Record what is changeable of *key* as it is now, and who changed it."""
    row = _row(key)
    return _changing(CHANGE, {name: row[name] for name in ("id", *CHANGEABLE)}, entry)


def revoke(key_id: str, at_ms: int, entry: Entry) -> Step:
    """Record that a key opens nothing from now on, and who said so."""
    return _changing(REVOKE, (at_ms, key_id), entry)


def note_used(used_ms: dict[str, int], before_day: int) -> Step:
    """Record when keys were last used, and forget their usage of days before *before_day*."""

    def step(connection: sqlite3.Connection) -> bool:
        with transaction(connection):
            connection.executemany(USED, [(at_ms, key_id) for key_id, at_ms in used_ms.items()])
            connection.execute(FORGET_USAGE, (before_day,))
        return True

    return step


def select_keys(connection: sqlite3.Connection) -> list[Key]:
    """Every key there ever was, the oldest first."""
    return [_key(row) for row in connection.execute(SELECT)]


def select_usage(connection: sqlite3.Connection, day: int) -> dict[str, int]:
    """Tokens that each key's calls used on that *day* (days since the epoch, UTC)."""
    return dict(connection.execute(USAGE, (day,)))


def revoked(key: Key, at_ms: int) -> Key:
    """*key*, revoked at that time unless it was before."""
    return key if key.revoked_ms is not None else replace(key, revoked_ms=at_ms)


def _changing(sql: str, values: dict[str, object] | tuple[object, ...], entry: Entry) -> Step:
    def step(connection: sqlite3.Connection) -> bool:
        with transaction(connection):
            connection.execute(sql, values)
            insert_entry(connection, entry)
        return True

    return step


def _row(key: Key) -> dict[str, object]:
    row = {name: getattr(key, name) for name in _NAMES}
    return row | {name: to_json(row[name]).decode() for name in _LISTS}


def _key(row: tuple[object, ...]) -> Key:
    values = dict(zip(_NAMES, row, strict=True))
    for name in _LISTS:
        values[name] = tuple(from_json(str(values[name])))
    return Key(**values)  # type: ignore[arg-type]
