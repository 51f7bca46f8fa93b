"""Reading one relayed request: who asks, for what, with which body → a `Call`.

Invariant: everything that can be refused by looking at the head is refused before a body byte is
read; no more than `max_body_bytes`, the key's or the server's, is ever held of one body, and of all
that are larger than 64 KiB no more than `arriving.py` lets in.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from aiohttp import HttpVersion11, StreamReader
from aiohttp.web_request import BaseRequest
from pydantic_core import SchemaValidator, ValidationError, core_schema

from gateway import config
from gateway.call import Call, Headers, OnDisconnect, Request, header
from gateway.errors import BadRequest, BodyTooLarge
from gateway.journal.keys import Key
from gateway.journal.redaction import has_secret_parameter
from gateway.relay.webhooks.sending import destination_of
from gateway.web import allowed, headers, members, routing
from gateway.web.arriving import SMALL_BYTES, Arrival
from gateway.web.security.forwarding import client_address
from gateway.web.security.guard import check_allowed
from gateway.web.security.identity import ANYBODY, Identity

OFF_LOOP_BYTES = 262_144  # hashing and parsing more than this would be felt by every other call
CLOSE_LOOK_BYTES = 16_384  # the same of what `members.py` does
BODY_S = 30.0  # within which a body is here, …
BODY_BYTES_PER_S = 1024  # … and a second more for each of these, …
LONGEST_BODY_S = 300.0  # … yet no longer than this in all where others may wait for its place
_INFLATED_BYTES = 33_554_432


def _told(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
    """A field that is None unless it is like *schema*; whatever else it holds is not built."""
    either = core_schema.with_default_schema(schema, default=None, on_error="default")
    return core_schema.typed_dict_field(either, required=False)


T = TypeVar("T")

_FIELDS = SchemaValidator(
    core_schema.typed_dict_schema({
        "model": _told(core_schema.str_schema(strict=True)),
        "stream": _told(core_schema.bool_schema(strict=True)),
    })
)  # fmt: skip


def split_target(request: BaseRequest) -> tuple[str, str]:
    """Raw path and query, as on the request line; an absolute-form target is reduced to them.

    Raises: BadRequest - an asterisk, another authority than Host's, a fragment, a
                         path of the gateway's own in absolute form
    """
    target = request.raw_path
    if "#" in target:  # no part of a target (RFC 9112 §3.2): "/v1/..#x" would climb where it is cut
        raise BadRequest("the request target holds a fragment")
    if not target.startswith("/"):
        scheme, _, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if (
            scheme.lower() not in ("http", "https")
            or authority.lower() != (request.headers.get("Host") or "").lower()
        ):
            raise BadRequest("the request target must be a path")
        target = slash + path or "/"
        if target.startswith("/-/"):
            raise BadRequest("the gateway's own paths are asked for as paths")
    path, _, query = target.partition("?")
    return path, query


async def read_body(
    request: BaseRequest, max_bytes: int, arrival: Arrival, whose: str = "[server]"
) -> bytes:
    """The whole body; of one that is not small, *arrival* holds its share of the budget.

    *whose* bound *max_bytes* is. Joining its pieces has it in RAM twice for an instant, but no two
    of them at once: nothing else runs meanwhile.

    Raises: BodyTooLarge, before reading where Content-Length tells, else as soon as the bound is passed;
            BadRequest, where it does not arrive in time; QueueFull, where too many others do
    """
    declared = request.content_length
    if declared is not None and declared > max_bytes:
        raise BodyTooLarge(_too_large(max_bytes, whose))
    if not request.body_exists:
        return b""
    if declared is not None and declared > SMALL_BYTES:
        await arrival.reserve(declared)
    if (
        request.headers.get("Expect", "").lower() == "100-continue"
        and request.version >= HttpVersion11
    ):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    first = await content.readany() if content.is_eof() else b""  # it is all here: nothing to time
    if content.at_eof() and len(first) <= max_bytes:
        return first
    pieces = [first]
    size = await _read_pieces(content, pieces, max_bytes, arrival)
    if size > max_bytes:
        raise BodyTooLarge(_too_large(max_bytes, whose))
    arrival.keep(size)
    return b"".join(pieces)


async def _read_pieces(
    content: StreamReader, pieces: list[bytes], max_bytes: int, arrival: Arrival
) -> int:
    """Read the rest into *pieces*, or until they pass *max_bytes*; how many bytes that makes.

    The time that it waits for its place is not the client's.
    """
    clock = asyncio.get_running_loop().time
    size, began = len(pieces[0]), clock()
    per_s = max(BODY_BYTES_PER_S, arrival.held_bytes / LONGEST_BODY_S)
    try:
        async with asyncio.timeout_at(began + BODY_S) as due:
            while size <= max_bytes and (piece := await content.readany()):
                pieces.append(piece)
                size += len(piece)
                if size > SMALL_BYTES and not arrival.held_bytes:  # it did not say how long it is
                    due.reschedule(None)
                    asked = clock()
                    await arrival.reserve(max(max_bytes, size))
                    began += clock() - asked
                due.reschedule(began + BODY_S + min(size / per_s, LONGEST_BODY_S))
    except TimeoutError:
        raise BadRequest(
            f"of the body, {size} bytes arrived in {clock() - began:.0f} s: send at least"
            f" {per_s:.0f} bytes a second, and all within {BODY_S + LONGEST_BODY_S:g} s"
        ) from None
    return size


async def read_call(
    request: BaseRequest,
    path: str,
    query: str,
    *,
    settings: config.Config,
    client_hash: Callable[[bytes], str],
    now: float,
    next_seq: Callable[[], int],
    new_id: Callable[[], str],
    arrival: Arrival,
    identity: Identity = ANYBODY,
) -> Call:
    """The call that *request* asks for, not accepted yet; *arrival* holds what its body takes.

    Raises: BadRequest, UnknownUpstream, BodyTooLarge, QueueFull; Forbidden, where a key may not use
            what it names
    """
    raw = request.raw_headers
    routing.check_path(path)
    if request.method in ("CONNECT", "TRACE"):  # TRACE answers with what was sent: our credential
        raise BadRequest(f"{request.method} is not relayed")
    if b"upgrade" in (header(raw, b"connection") or "").lower().encode("latin-1"):
        raise BadRequest("upgrades (WebSocket) are not relayed")
    options = headers.options(raw)
    if options.webhook is not None:
        destination_of(options.webhook, settings.webhooks)
    named = headers.named_upstream(raw)
    if named is not None or routing.named_in(path, settings.upstreams):
        allowed.check_path(
            routing.choose(path, named=named, model=None, upstreams=settings.upstreams)
        )
    key = identity.key
    max_bytes, whose = _max_body(key, settings)
    body = await read_body(request, max_bytes, arrival, whose)
    # An encoded one may be a hundred times as large as it looks.
    closely = (
        len(body) > OFF_LOOP_BYTES
        or header(raw, b"content-encoding") is not None
        or _may_repeat_a_field(body)
    )
    look = partial(_look_into, raw, body, path, named, settings, key, closely=closely)
    if closely or (key is not None and key.models and len(body) > CLOSE_LOOK_BYTES):
        digest, model, wants_stream, route = await _off_loop(arrival, look)
    else:
        digest, model, wants_stream, route = look()
    upstream = route.upstream
    model = model or routing.model_in_path(path)
    fields, passes_credential = headers.travelling(raw, upstream)
    sent_query = headers.sent_query(query, upstream)
    target = (
        f"{route.target}?{sent_query}" if sent_query or "?" in request.raw_path else route.target
    )
    most = upstream.retry.max_attempts
    if options.max_attempts is not None and options.max_attempts > most:
        raise BadRequest(f"x-gateway-max-attempts must be a whole number from 1 to {most}")
    stream = wants_stream or path.endswith(":streamGenerateContent")
    client = identity.client
    if client is None:
        presented = headers.credential(raw, query, upstream.dialect)
        client = "" if presented is None else f"cred:{client_hash(presented)}"
    created_at = now
    return Call(
        seq=next_seq(),
        id=new_id(),
        request=Request(
            method=request.method, path=path, query=query, headers=fields, body=body,
            body_bytes=len(body), sha256=digest,
        ),
        options=options,
        client=client,
        key_id=None if key is None else key.id,
        address=client_address(request, settings.server),
        upstream=upstream.name,
        target=target,
        model=routing.told_model(model),
        stream=stream,
        on_disconnect=_on_disconnect(options.on_disconnect, options.idempotency_key, stream, upstream),
        max_attempts=options.max_attempts or most,
        created_at=created_at,
        deadline_at=None if options.timeout_s is None else created_at + options.timeout_s,
        needs_secret=passes_credential or has_secret_parameter(sent_query),
        fingerprint=_fingerprint(request.method, upstream.name, path, query, digest),
        detached=options.detached,
        client_waited=options.wait_s > 0 or not options.detached,
    )  # fmt: skip


async def _off_loop(arrival: Arrival, look: Callable[[], T]) -> T:
    """What *look* returns, from a thread. Cancelled, it goes on, and so does what *arrival* holds."""
    looking = asyncio.get_running_loop().run_in_executor(None, look)
    arrival.until(looking)
    await asyncio.wait((looking,))  # awaited itself, it would be cancelled while its thread runs on
    return looking.result()


def _look_into(
    raw: Headers, body: bytes, path: str, named: str | None, settings: config.Config, key: Key | None,
    *, closely: bool,
) -> tuple[str, str | None, bool, routing.Route]:  # fmt: skip
    """All that takes long with a long *body*: its hash, model, whether it streams, and its route.

    Raises: BadRequest, UnknownUpstream; Forbidden, where *key* may not use what it names
    """
    model, wants_stream = _model_and_stream(raw, body, closely=closely)
    route = routing.choose(path, named=named, model=model, upstreams=settings.upstreams)
    allowed.check_path(route)
    if key is not None:
        check_allowed(key, route.upstream.name, path, raw, body)
    return hashlib.sha256(body).hexdigest(), model, wants_stream, route


def _on_disconnect(
    asked: OnDisconnect | None, idempotency_key: str | None, stream: bool, upstream: config.Upstream
) -> OnDisconnect:
    if asked is not None:
        return asked
    if idempotency_key is not None:
        return OnDisconnect.FINISH
    return OnDisconnect(upstream.on_disconnect_stream if stream else upstream.on_disconnect)


def _model_and_stream(raw: Headers, body: bytes, *, closely: bool) -> tuple[str | None, bool]:
    """Two top-level fields of a JSON body; whatever is no JSON object has neither."""
    encoding = header(raw, b"content-encoding")
    if encoding is not None:
        body = _inflated(body, encoding.lower())
    if body.lstrip()[:1] != b"{":
        return None, False
    if not closely:
        try:
            fields = _FIELDS.validate_json(body)
        except (ValidationError, RecursionError):
            return None, False
        return fields.get("model"), fields.get("stream") is True
    found: dict[str, bytes | None] = {}
    for name, value in members.top_level(body):
        if name in ("model", "stream"):
            if name in found:  # the gateway would take the last, and the upstream maybe the first
                raise BadRequest(f"the body says {name!r} twice")
            found[name] = value
    return members.text(found.get("model")), found.get("stream") == b"true"


def _may_repeat_a_field(body: bytes) -> bool:
    """Whether *body* deserves a closer look; a name of ours could also be spelled with escapes."""
    once = body.count(b'"model"') <= 1 and body.count(b'"stream"') <= 1
    return not once or b"\\u006" in body or b"\\u007" in body


def _inflated(body: bytes, encoding: str) -> bytes:
    """A copy to look into, at most 32 MiB of it; b"" where we cannot read the encoding."""
    if encoding not in ("gzip", "deflate"):
        return b""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _INFLATED_BYTES)
    except zlib.error:
        return b""


def _fingerprint(method: str, upstream: str, path: str, query: str, body_sha256: str) -> str:
    parts = f"{method}\n{upstream}\n{path}\n{query}\n{body_sha256}"
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()


def _too_large(max_bytes: int, whose: str) -> str:
    return f"the body is larger than {max_bytes} bytes ({whose} max_body_bytes)"


def _max_body(key: Key | None, settings: config.Config) -> tuple[int, str]:
    """The bound of a body, and whose it is: the key's or the server's, whichever is lower."""
    most = settings.server.max_body_bytes
    if key is not None and key.max_body_bytes is not None and key.max_body_bytes < most:
        return key.max_body_bytes, "this key's"
    return most, "[server]"
