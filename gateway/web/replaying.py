"""`POST /-/calls/{id}/replay`: a recorded request goes again, as a new call that nobody waits for.

Invariants: bytes that nobody asked to change are the recorded ones; the original stays as it is;
what the journal does not hold (a credential) is never guessed, so such a call is refused.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import from_json, to_json

from gateway import config
from gateway.call import Call, Headers, OnDisconnect, Options, Request, header
from gateway.errors import BadRequest, BodyTooLarge, Conflict, Gone
from gateway.journal.bodies import request_body
from gateway.journal.keys import Key
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord, CallRow, header_fields
from gateway.journal.redaction import REDACTED, has_secret_parameter
from gateway.relay.live_call import LiveCall
from gateway.relay.relay import Relay
from gateway.relay.upstream import CREDENTIALS
from gateway.web import allowed, headers, members, routing
from gateway.web.calls import pending, settled
from gateway.web.request import OFF_LOOP_BYTES
from gateway.web.security.auth import IDENTITY
from gateway.web.security.guard import check_allowed
from gateway.web.security.identity import Identity

MOST_CHANGED = 400_000  # values, and what is between them: a parser holds up all for 0.2 s at most


class Changes(BaseModel):
    """Body of the request: what is to be different this time."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    upstream: str | None = None
    model: str | None = None
    body_patch: JsonValue = None  #: RFC 7396, applied to the JSON body; null: none

    @property
    def touch_body(self) -> bool:
        """Whether the body, or the model in it, is to change."""
        return self.model is not None or self.body_patch is not None


AS_IT_WAS = Changes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Makes new calls of recorded ones."""

    relay: Relay
    reader: Reader
    settings: Callable[[], config.Config]
    next_seq: Callable[[], int]
    new_id: Callable[[], str]
    now: Callable[[], float]
    keys_of: Callable[[str | None, Identity | None], tuple[Key, ...]]  #: (its key, who asks)
    admit: Callable[[Identity | None], None]

    def check(self, changes: Changes) -> None:
        """Refuse what no call can be replayed with. Raises: UnknownUpstream."""
        routing.choose("/", named=changes.upstream, model=None, upstreams=self.settings().upstreams)

    async def start(
        self, record: CallRecord, changes: Changes = AS_IT_WAS, *, by: Identity | None = None
    ) -> LiveCall:
        """Hand the request of *record* to the relay once more; durable once `wait_accepted` returns.

        Raises: Conflict - not final, or needs a credential that the journal does not hold
                Gone - retention removed the body
                Forbidden - the upstream's list leaves the path out
                Forbidden, KeyLimit, BodyTooLarge - *by*'s key, or its client's, may not send it
                UnknownUpstream, BadRequest, and what `Relay.accept` raises
        """
        if not record.status.is_final:
            raise Conflict("the call is not final yet; replay it once it is")
        settings = self.settings()
        path, in_path = _path(record.row, changes, settings.upstreams)
        named = changes.upstream or record.row.upstream
        route = routing.choose(path, named=named, model=None, upstreams=settings.upstreams)
        allowed.check_path(route)
        query = headers.sent_query(record.row.query, route.upstream)
        fields = _fields(record, route.upstream, query)
        body = await self._body(record)
        changes = changes if in_path is None else changes.model_copy(update={"model": None})
        if changes.touch_body and header(fields, b"content-encoding") not in (None, "identity"):
            raise BadRequest("the body is compressed, so nothing in it can be changed")
        keys = self.keys_of(record.row.key_id, by)

        def prepare() -> tuple[bytes, JsonValue, str]:
            """All that takes long with a long body."""
            sent, document = _changed(body, changes) if changes.touch_body else (body, None)
            if changes.touch_body and len(sent) > settings.server.max_body_bytes:
                raise BodyTooLarge
            for key in keys:
                if key.max_body_bytes is not None and len(sent) > key.max_body_bytes:
                    raise BodyTooLarge(f"this key's max_body_bytes is {key.max_body_bytes}")
                check_allowed(key, route.upstream.name, path, fields, sent)
            return sent, document, hashlib.sha256(sent).hexdigest()

        may_take_long = changes.touch_body or any(key.models for key in keys)
        if may_take_long or len(body) > OFF_LOOP_BYTES:
            sent, document, digest = await asyncio.to_thread(prepare)
        else:
            sent, document, digest = prepare()
        model, stream = in_path or record.row.model, bool(record.row.stream)
        if isinstance(document, dict):
            asked = document.get("model")
            model = in_path or (asked if isinstance(asked, str) else routing.model_in_path(path))
            stream = document.get("stream") is True or path.endswith(":streamGenerateContent")
        call = self._call(
            record.row, route, path, query, fields, sent, digest, model=model, stream=stream
        )
        self.admit(by)
        return self.relay.accept(call, None)

    async def _body(self, record: CallRecord) -> bytes:
        held = await request_body(self.reader, record)
        body = b"".join([piece async for piece in self.reader.body(held.seq, 0)])
        if len(body) != held.size:
            raise Gone("retention removed the body of this request")
        return body

    def _call(
        self, row: CallRow, route: routing.Route, path: str, query: str, fields: Headers, body: bytes,
        digest: str, *, model: str | None, stream: bool,
    ) -> Call:  # fmt: skip
        """The new call: its client's, with its rank and tags, and as long to go as it had."""
        now = self.now()
        timeout_s = None if row.deadline_ms is None else (row.deadline_ms - row.created_ms) / 1000
        return Call(
            seq=self.next_seq(),
            id=self.new_id(),
            request=Request(
                method=row.method, path=path, query=row.query, headers=fields, body=body,
                body_bytes=len(body), sha256=digest,
            ),
            options=Options(
                priority=row.priority, fairness_key=row.fairness_key, timeout_s=timeout_s,
                tags=from_json(row.tags), webhook=row.webhook, detached=True,
            ),
            client=row.client,
            address=row.address,
            key_id=row.key_id,
            upstream=route.upstream.name,
            target=f"{route.target}?{query}" if query else route.target,
            model=routing.told_model(model),
            stream=stream,
            on_disconnect=OnDisconnect(row.on_disconnect),
            max_attempts=min(row.max_attempts, route.upstream.retry.max_attempts),
            created_at=now,
            deadline_at=None if timeout_s is None else now + timeout_s,
            replay_of=row.id,
            detached=True,
            client_waited=False,
        )  # fmt: skip


def routes(replays: Replays) -> list[web.RouteDef]:
    """The one route."""

    async def replay(request: web.Request) -> web.Response:
        changes = await read_changes(request)
        live = await replays.start(await settled(request, 0), changes, by=request.get(IDENTITY))
        await live.wait_accepted()
        call, retry_after = await pending(request.app, live.call.id)
        fields = {
            "Location": f"/-/calls/{live.call.id}",
            "Retry-After": retry_after,
            "Preference-Applied": "respond-async",
            "Vary": "Prefer",
            "x-gateway-call-id": live.call.id,
        }
        return web.Response(
            status=202, body=call, content_type="application/json", headers=fields
        )  # fmt: skip

    return [web.post("/-/calls/{id}/replay", replay)]


async def read_changes(request: web.Request) -> Changes:
    """What the body of *request* asks to change; no body: nothing. Raises BadRequest."""
    try:
        return Changes.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(f"{where}: {first['msg']}") from error


def merge_patch(target: JsonValue, patch: JsonValue) -> JsonValue:
    """*target* with *patch* applied, as RFC 7396 §2 has it."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _changed(body: bytes, changes: Changes) -> tuple[bytes, JsonValue]:
    """The *body* as *changes* have it, as bytes and read."""
    if members.are_more_than(MOST_CHANGED, body):
        raise BadRequest("the body is JSON of too many values to be changed; send it anew")
    try:
        document: JsonValue = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest("the body is not JSON, so nothing in it can be changed") from error
    if changes.body_patch is not None:
        document = merge_patch(document, changes.body_patch)
    if changes.model is not None:
        if not isinstance(document, dict):
            raise BadRequest("the body is no JSON object, so it has no model to replace")
        document["model"] = changes.model
    return to_json(document), document


def _path(
    row: CallRow, changes: Changes, upstreams: Mapping[str, config.Upstream]
) -> tuple[str, str | None]:
    """The path of the new call, and the new model where it stands there instead of in the body.

    A path that named its upstream names the other one.
    """
    path = row.path
    named, _, rest = path[1:].partition("/")
    if changes.upstream in upstreams and named == row.upstream:
        path = f"/{changes.upstream}/{rest}"
    if changes.model is None or routing.model_in_path(path) is None:
        return path, None
    path = routing.with_model(path, changes.model)
    routing.check_path(path)
    return path, changes.model


def _fields(record: CallRecord, upstream: config.Upstream, query: str) -> Headers:
    """The recorded fields that go again: without cookies, and without the old Idempotency-Key.

    And without what *upstream*'s list leaves out.

    Raises: Conflict - *upstream* needs the client's credential, or *query* held one
    """
    assert record.request is not None, "a single call is read whole"
    stored = [
        (name.encode("latin-1"), value) for name, value in header_fields(record.request.headers)
    ]
    recorded = [
        (name, value.encode("latin-1"), value)
        for name, value in stored
        if allowed.lets_through(name.lower(), upstream)
    ]
    lost = {name.lower() for name, _, value in recorded if value == REDACTED} & CREDENTIALS
    if (lost and not headers.has_credential(upstream)) or has_secret_parameter(query):
        raise Conflict(
            "the call needs a credential of its client, and the journal keeps none; send it anew"
        )
    return tuple(
        (name, raw)
        for name, raw, value in recorded
        if value != REDACTED and name.lower() != b"idempotency-key"
    )
