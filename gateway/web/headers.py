"""What a client's header fields mean: options for the gateway, credentials, and what must not travel.

Invariant: a malformed or out-of-range value in a field of the gateway's own is a BadRequest that
names the field; nothing is guessed.
"""

import math
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from gateway import config
from gateway.call import Headers, OnDisconnect, Options
from gateway.errors import BadRequest
from gateway.journal.keys import key_in
from gateway.relay.upstream import CREDENTIALS, end_to_end
from gateway.web.allowed import lets_through

_NOT_RELAYED = frozenset({b"host", b"expect", b"x-gateway-key"})
#: Of the dashboard's sessions, under TLS and without.
SESSION_COOKIES = (b"__Host-gw", b"gw")
MAX_WAIT_S = 3600.0
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")


def options(raw: Headers) -> Options:
    """What the client asks of the gateway.

    Raises: BadRequest, naming the field
    """
    given = dict(_own_fields(raw))
    prefer, wait_s = _prefer(raw)
    idempotency_key = _first(raw, b"idempotency-key")
    if idempotency_key is not None:
        idempotency_key = _idempotency_key(idempotency_key)
    if (
        not given
        and not prefer
        and idempotency_key is None
        and not _first(raw, b"x-stainless-retry-count")
    ):
        return _PLAIN
    priority = _integer(given, "x-gateway-priority", 0, 9)
    on_disconnect = given.get("x-gateway-on-disconnect")
    if on_disconnect not in (None, "finish", "cancel"):
        raise BadRequest("x-gateway-on-disconnect must be finish or cancel")
    return Options(
        priority=5 if priority is None else priority,
        fairness_key=_fairness_key(given.get("x-gateway-fairness-key")),
        timeout_s=_seconds(given, "x-gateway-timeout-s"),
        queue_timeout_s=_seconds(given, "x-gateway-queue-timeout-s"),
        max_attempts=_integer(given, "x-gateway-max-attempts", 1, 1000),
        on_disconnect=OnDisconnect(on_disconnect) if on_disconnect else None,
        tags=_tags(given.get("x-gateway-tags")),
        idempotency_key=idempotency_key,
        webhook=given.get("x-gateway-webhook"),
        detached=prefer,
        wait_s=wait_s,
        retry_count=_retry_count(raw),
    )


_PLAIN = Options()
_NOT_BUILT = frozenset({"x-gateway-delay-s", "x-gateway-not-before"})
_KNOWN = frozenset({
    "x-gateway-upstream", "x-gateway-timeout-s", "x-gateway-queue-timeout-s", "x-gateway-priority",
    "x-gateway-fairness-key", "x-gateway-max-attempts", "x-gateway-on-disconnect", "x-gateway-tags",
    "x-gateway-webhook", "x-gateway-key",
})  # fmt: skip


def named_upstream(raw: Headers) -> str | None:
    """The value of `x-gateway-upstream`."""
    return _first(raw, b"x-gateway-upstream")


def credential(raw: Headers, query: str, dialect: str) -> bytes | None:
    """What the client presents as its credential: the first of the usual fields, Gemini's `key=` last."""
    for name, value in raw:
        if name.lower() in CREDENTIALS and value:
            return value
    if dialect == "gemini":
        for name, value in _parameters(query):
            if name == b"key" and value:
                return value
    return None


def gateway_keys(raw: Headers, query: str = "", dialect: str = "") -> list[bytes]:
    """The gateway's own keys among what the client presents.

    `x-gateway-key` holds one whatever it looks like, and is looked at alone; else whatever looks
    like one, however it is spelled.
    """
    first: list[bytes] = []
    others: list[bytes] = []
    for name, value in raw:
        lower = name.lower()
        if lower == b"x-gateway-key":
            first.append(value.strip())
        elif lower in CREDENTIALS and (key := key_in(value)) is not None:
            others.append(key)
    if dialect == "gemini" and "key=gw_" in query:
        shown = (key_in(value) for name, value in _parameters(query) if name == b"key")
        others += [key for key in shown if key is not None]
    return first or others


def is_same_origin(raw: Headers, *, by_tls: bool) -> bool:
    """Whether a browser's request shows that a page of ours made it: no form of another site can."""
    if _first(raw, b"x-gateway-csrf"):
        return True
    origin = _first(raw, b"origin")
    if origin is not None:
        return _is_ours(origin, raw, by_tls=by_tls)
    return _first(raw, b"sec-fetch-site") == "same-origin"


def travelling(raw: Headers, upstream: config.Upstream) -> tuple[Headers, bool]:
    """The fields that go to *upstream*, and whether a credential of the client's is among them.

    Where the upstream has its own credential, `relay/upstream.py` puts it in the client's place.
    """
    own = has_credential(upstream)
    passed = False
    fields: list[tuple[bytes, bytes]] = []
    for name, value in end_to_end(raw):
        lower = name.lower()
        if lower in _NOT_RELAYED or lower.startswith(b"x-gateway-"):
            continue
        if not lets_through(lower, upstream):
            continue
        if lower in CREDENTIALS:
            if key_in(value) is not None:
                continue
            passed = passed or not own
        if lower == b"cookie" and not (value := _other_cookies(value)):
            continue
        if lower == b"prefer" and not (value := _other_preferences(value)):
            continue
        fields.append((name, value))
    return tuple(fields), passed


def has_credential(upstream: config.Upstream) -> bool:
    """Whether *upstream* needs none of the client's: it has its own, or it is simulated."""
    return upstream.api_key is not None or upstream.is_mock


def sent_query(query: str, upstream: config.Upstream) -> str:
    """*query* as it goes to *upstream*: without Gemini's `key=` where the upstream has its own.

    A gateway key in it goes nowhere.
    """
    own = upstream.dialect == "gemini" and has_credential(upstream)
    if not own and "gw_" not in query.lower() and "%" not in query:
        return query
    return "&".join(pair for pair in query.split("&") if not _is_kept_back(pair, own=own))


def _is_kept_back(pair: str, *, own: bool) -> bool:
    name, _, value = pair.partition("=")
    is_key = unquote_to_bytes(name) == b"key"
    return is_key and (own or key_in(unquote_to_bytes(value)) is not None)


def _is_ours(origin: str, raw: Headers, *, by_tls: bool) -> bool:
    """Whether a page of *origin* came from the host that is asked.

    Not from the same host without TLS where the request came *by_tls*: anybody on the way may have
    written such a page. The other way round, a proxy may speak TLS and not say so.
    """
    scheme, _, authority = origin.lower().partition("://")
    host = (_first(raw, b"host") or "").lower()
    return authority == host != "" and (scheme == "https" or not by_tls)


def check_origin(raw: Headers, allowed: tuple[str, ...], *, by_tls: bool) -> str | None:
    """Why a browser's request from another origin is refused, or None.

    A web page must not spend its visitor's upstream credential while no key is required.
    """
    origin, site = _first(raw, b"origin"), _first(raw, b"sec-fetch-site")
    if origin is None and site is None:
        return None
    if origin is not None and origin in allowed:
        return None
    if origin is not None and not _is_ours(origin, raw, by_tls=by_tls):
        return f"a browser sent this from {origin}, which [server] allowed_origins does not name"
    if site is not None and site not in ("same-origin", "none"):
        return f"a browser sent this from another site ({site}); see [server] allowed_origins"
    return None


def is_navigation(raw: Headers) -> bool:
    """A browser opens this as a page, where an upstream's markup must not run on our origin."""
    return _first(raw, b"sec-fetch-dest") in ("document", "frame", "iframe")


def _first(raw: Headers, wanted: bytes) -> str | None:
    size = len(wanted)
    for name, value in raw:
        if len(name) == size and name.lower() == wanted:
            return value.decode("latin-1").strip()
    return None


def _own_fields(raw: Headers) -> Iterator[tuple[str, str]]:
    seen = set()
    for name, value in raw:
        if name[:10].lower() == b"x-gateway-":
            field = name.decode("latin-1").lower()
            if field in _NOT_BUILT:
                raise BadRequest(f"{field} is not built yet; nothing was sent")
            if field not in _KNOWN:
                continue  # another gateway's, or a later one's: it does not travel, and means nothing
            if field in seen:
                raise BadRequest(f"{field} is given twice")
            seen.add(field)
            yield field, _text(value).strip()


def _text(value: bytes) -> str:
    """UTF-8, as people write names today; what is not, as HTTP began."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _seconds(given: dict[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        seconds = float(given[name])
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 31_536_000 or "_" in given[name]:  # Python's own 1_000
        raise BadRequest(f"{name} must be a number of seconds above 0, not {given[name]!r}")
    return seconds


def _integer(given: dict[str, str], name: str, low: int, high: int) -> int | None:
    if name not in given:
        return None
    text = given[name]
    if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high and len(text) < 9):
        raise BadRequest(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _fairness_key(value: str | None) -> str | None:
    if value is not None and not (value and len(value) <= 64 and _PRINTABLE.match(value)):
        raise BadRequest("x-gateway-fairness-key must be 1 to 64 printable bytes")
    return value


def _tags(value: str | None) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in (value or "").split(","):
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not pair.strip():
            continue
        if not equals or not _TAG.match(name) or len(text) > 256 or not text.isprintable():
            raise BadRequest("x-gateway-tags must look like team=search, run=7")
        tags[name] = text
    if len(tags) > 32:
        raise BadRequest("x-gateway-tags takes at most 32 tags")
    return tags


def _idempotency_key(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]  # the draft's form; everybody sends it bare
    if not (1 <= len(value) <= 255 and _PRINTABLE.match(value)):
        raise BadRequest("Idempotency-Key must be 1 to 255 printable characters")
    return value


def _retry_count(raw: Headers) -> int:
    value = _first(raw, b"x-stainless-retry-count") or "0"
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0


def _prefer(raw: Headers) -> tuple[bool, float]:
    """`respond-async` and its `wait`; RFC 7240. `wait` alone means nothing here and travels on."""
    preferences = [
        part.partition(";")[0].strip()
        for name, value in raw
        if name.lower() == b"prefer"
        for part in value.decode("latin-1").split(",")
    ]
    if not any(part.lower() == "respond-async" for part in preferences):
        return False, 0.0
    for part in preferences:
        name, equals, value = part.partition("=")
        if name.strip().lower() == "wait" and equals:
            value = value.strip().strip('"')
            if not (value.isascii() and value.isdigit()):
                raise BadRequest(f"Prefer: wait must be a whole number of seconds, not {value!r}")
            return True, min(MAX_WAIT_S, float(value.lstrip("0")[:9] or "0"))
    return True, 0.0


def _other_cookies(value: bytes) -> bytes:
    """A `Cookie` without the dashboard's own."""
    if b"gw=" not in value:
        return value
    cookies = [cookie.strip() for cookie in value.split(b";")]
    kept = [
        cookie for cookie in cookies if cookie.partition(b"=")[0].strip() not in SESSION_COOKIES
    ]
    return b"; ".join(kept)


def _other_preferences(value: bytes) -> bytes:
    parts = [part.strip() for part in value.split(b",")]
    names = [part.partition(b";")[0].partition(b"=")[0].strip().lower() for part in parts]
    if b"respond-async" not in names:
        return value
    ours = (b"respond-async", b"wait")
    return b", ".join(p for p, name in zip(parts, names, strict=True) if name not in ours)


def _parameters(query: str) -> Iterator[tuple[bytes, bytes]]:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        yield unquote_to_bytes(name), unquote_to_bytes(value)
