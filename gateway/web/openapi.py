"""`/-/openapi.json`: the gateway's own API described for machines (OpenAPI 3.1)."""

from typing import Any

from pydantic_core import to_json

from gateway import __version__
from gateway.journal.filters import PAGING

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def document() -> bytes:
    """The whole description as JSON."""
    return to_json(
        {
            "openapi": "3.1.0",
            "info": {"title": "gateway", "version": __version__},
            "paths": {path: dict(methods) for path, methods in _PATHS.items()},
            "components": {"schemas": _SCHEMAS},
        }
    )


def _operation(
    summary: str,
    *,
    ok: dict[str, str],
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    body_required: bool = True,
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        status: {"description": description} for status, description in ok.items()
    }
    responses["default"] = {"description": "What is wrong (RFC 9457)", "content": _PROBLEM}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body:
        schema = {"schema": {"$ref": f"#/components/schemas/{body}"}}
        operation["requestBody"] = {
            "required": body_required,
            "content": {"application/json": schema},
        }
    return operation


def _query(name: str, kind: str = "string", about: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": about}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


_ID = _in_path("id")
_WAIT = _query(
    "wait", "number", "answer as soon as the call is final, at the latest after so many seconds"
)
_UPSTREAM = (
    "limits and counts; `limit`: how many attempts may be in flight now, `max_in_flight` at most; "
    "`breaker`: null where it is off, else `state` (closed, open, half_open, recovering), "
    "`opens_total` and, while open, `retry_at`; `recent`: `attempts` of the last `window_s` "
    "seconds and how many `failed`"
)
_FOLLOW = _query("follow", "boolean", "the bytes as they arrive, to the end")
_OFFSET = _query("offset", "integer", "with follow: from this byte on")
_ATTEMPT = _query("attempt", "integer", "the answer of this attempt")
_FILTERS = [
    _query("q", about="words that occur in request, answer or error, and fields: dur:>10s"),
    _query("cursor", about="where a search goes on that ran out of time: its next_cursor"),
    _query("limit", "integer", "1 to 1000, 50 by default"),
    _query("after", about="id of the call before this page"),
    _query("before", about="id of the call after this page"),
    _query("order", about="desc (newest first, the default) or asc"),
    _query("status"),
    _query("upstream"),
    _query("model", about="a glob"),
    _query("key"),
    _query("tag", about="name:value"),
    _query("idempotency_key"),
    _query("path", about="a glob"),
    _query("http_status", "integer"),
    _query("min_duration_ms", "number"),
    _query("since", about="RFC 3339"),
    _query("until", about="RFC 3339"),
    _query("expand", about="all: attempts, headers and hashes too"),
]
_SELECTION = [parameter for parameter in _FILTERS if parameter["name"] not in PAGING]
_DRY_RUN = _query("dry_run", "boolean", "count the calls that match, and change nothing")
_PATHS: dict[str, dict[str, Any]] = {
    "/-/calls": {"get": _operation("List calls", ok={"200": "A page"}, parameters=_FILTERS)},
    "/-/calls/count": {
        "get": _operation(
            "Count calls, up to 10,000 or as far as 200 ms go",
            ok={"200": "count, and capped: at least so many"},
            parameters=_SELECTION,
        )
    },
    "/-/calls/{id}": {
        "get": _operation(
            "Show a call", ok={"200": "The call", "304": "Unchanged"}, parameters=[_ID, _WAIT]
        ),
        "delete": _operation("Delete a final call", ok={"204": "Gone"}, parameters=[_ID]),
    },
    "/-/calls/{id}/request": {
        "get": _operation("The request body", ok={"200": "Byte for byte"}, parameters=[_ID])
    },
    "/-/calls/{id}/response": {
        "get": _operation(
            "The recorded answer",
            ok={"200": "The upstream's status, headers and bytes", "202": "Not final yet"},
            parameters=[_ID, _WAIT, _ATTEMPT, _FOLLOW, _OFFSET],
        )
    },
    "/-/calls/{id}/body": {
        "get": _operation(
            "A recorded body as a file: nothing of what was said beside it, and read as it is so far",
            ok={"200": "The bytes"},
            parameters=[
                _ID,
                _query("attempt", "integer", "0: the request; the answer by default"),
                _query("offset", "integer", "from this byte on"),
                _query("limit", "integer", "so many bytes at most"),
            ],
        )
    },
    "/-/calls/{id}/chunks": {
        "get": _operation(
            "When each piece of an answer arrived",
            ok={"200": "ms since the attempt began, offset and bytes of each"},
            parameters=[_ID, _ATTEMPT],
        )
    },
    "/-/calls/{id}/cancel": {
        "post": _operation("Cancel a call", ok={"200": "It, final"}, parameters=[_ID])
    },
    "/-/calls/{id}/replay": {
        "post": _operation(
            "Send a final call's request again",
            ok={"202": "The new call"},
            parameters=[_ID],
            body="Replay",
            body_required=False,
        )
    },
    "/-/calls/{id}/webhook": {
        "get": _operation(
            "How telling its webhook went", ok={"200": "With every try"}, parameters=[_ID]
        ),
        "post": _operation("Tell its webhook again", ok={"202": "The call"}, parameters=[_ID]),
    },
    "/-/calls/cancel": {
        "post": _operation(
            "Cancel all open calls that match",
            ok={"200": "A Bulk"},
            parameters=[*_SELECTION, _DRY_RUN],
        )
    },
    "/-/calls/replay": {
        "post": _operation(
            "Replay all calls that match, the oldest first",
            ok={"200": "A Bulk"},
            parameters=[*_SELECTION, _DRY_RUN],
            body="Replay",
            body_required=False,
        )
    },
    "/-/calls/delete": {
        "post": _operation(
            "Delete all final calls that match, for good, the oldest first",
            ok={"200": "A Bulk"},
            parameters=[
                *_SELECTION,
                _query("all", "boolean", "every call: needed where no filter chooses"),
                _DRY_RUN,
            ],
        )
    },
    "/-/calls/export": {
        "get": _operation(
            "Export calls with their bodies", ok={"200": "JSON lines"}, parameters=_SELECTION
        )
    },
    "/-/events": {
        "get": _operation(
            "Watch what changes",
            ok={"200": "Server-Sent Events: hello, call, stats, upstream, resync, bye"},
            parameters=[
                _query("topics", about="several by comma: call, stats, upstream; all by default"),
                _query("last_event_id", about="resume after this event, as Last-Event-ID does"),
            ],
        )
    },
    "/-/config": {
        "get": _operation("The configuration in force", ok={"200": "Each value and its source"})
    },
    "/-/journal": {"get": _operation("How the journal is", ok={"200": "Sizes and figures"})},
    "/-/upstreams": {"get": _operation("List upstreams", ok={"200": f"Each: {_UPSTREAM}"})},
    "/-/upstreams/{name}": {
        "get": _operation("Show an upstream", ok={"200": _UPSTREAM}, parameters=[_in_path("name")]),
        "patch": _operation(
            "Tune an upstream live",
            ok={"200": _UPSTREAM},
            parameters=[_in_path("name")],
            body="Change",
        ),
    },
    "/-/keys": {
        "get": _operation("List keys, revoked ones too", ok={"200": "All of them"}),
        "post": _operation("Make a key", ok={"201": "It, and its secret this once"}, body="NewKey"),
    },
    "/-/keys/{id}": {
        "get": _operation("Show a key", ok={"200": "With what it used lately"}, parameters=[_ID]),
        "patch": _operation(
            "Set a key's bounds", ok={"200": "It"}, parameters=[_ID], body="KeyChange"
        ),
        "delete": _operation("Revoke a key, at once", ok={"204": "Revoked"}, parameters=[_ID]),
    },
    "/-/session": {
        "get": _operation("Who asks, and what they may", ok={"200": "Scopes and key"}),
        "post": _operation(
            "Sign in", ok={"200": "A cookie that stands for the key"}, body="SignIn"
        ),
        "delete": _operation("Sign out", ok={"204": "The cookie is worth nothing any more"}),
    },
    "/-/ui/login": {
        "get": _operation("The form to sign in", ok={"200": "HTML"}),
        "post": _operation(
            "Sign in by the form",
            ok={"303": "To the dashboard", "401": "The form again", "429": "The form, and later"},
        ),
    },
    "/-/ui/logout": {"post": _operation("Sign out by a form", ok={"303": "To the form"})},
    "/-/audit": {
        "get": _operation(
            "Who did what, newest first",
            ok={"200": "A page of entries"},
            parameters=[
                _query("limit", "integer", "1 to 1000, 50 by default"),
                _query("after", "integer", "id of the entry before this page"),
                _query("before", "integer", "id of the entry after this page"),
            ],
        )
    },
    "/-/reload": {"post": _operation("Re-read config.toml", ok={"200": "Taken over as a whole"})},
    "/-/prune": {
        "post": _operation("Remove what retention no longer keeps, now", ok={"200": "How much"})
    },
    "/-/stats": {
        "get": _operation(
            "Figures of now, and totals and series of a window",
            ok={"200": "Also of each upstream, and of the equal window before"},
            parameters=[
                _query("window", about="5m to 30d, 1h by default; a number with s, m, h or d"),
                _query(
                    "step",
                    about="of the series: a multiple of 10s; by itself it gives at most 120 steps",
                ),
                _query("upstream", about="of this one alone"),
                _query("key", about="of the calls made with the gateway key of this id"),
            ],
        )
    },
    "/-/metrics": {"get": _operation("Prometheus metrics", ok={"200": "Text format"})},
    "/-/healthy": {"get": _operation("Is the process alive", ok={"200": "Yes"})},
    "/-/ready": {
        "get": _operation("Does it take calls", ok={"200": "Yes", "503": "Draining, or no journal"})
    },
    "/-/openapi.json": {"get": _operation("This document", ok={"200": "OpenAPI 3.1"})},
    "/-/ui": {"get": _operation("Leads to the dashboard", ok={"302": "/-/ui/"})},
    "/-/ui/{page}": {
        "get": _operation(
            "A page of the dashboard", ok={"200": "HTML"}, parameters=[_in_path("page")]
        )
    },
    "/-/ui/a/{build}/{file}": {
        "get": _operation(
            "A file of the dashboard",
            ok={"200": "Never changes", "404": "Of another build"},
            parameters=[_in_path("build"), _in_path("file")],
        )
    },
}
_GLOBS = {"type": "array", "items": {"type": "string"}, "description": "globs; empty: all"}
_BOUND = {"type": ["integer", "null"], "minimum": 1}
_KEY_FIELDS: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 100},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
    "upstreams": _GLOBS,
    "models": _GLOBS,
    "max_in_flight": _BOUND,
    "max_queued": _BOUND,
    "requests_per_minute": _BOUND,
    "tokens_per_minute": _BOUND,
    "tokens_per_day": _BOUND,
    "max_body_bytes": _BOUND,
    "bodies": {"enum": ["full", "metadata", "none"], "description": "what is kept of its calls"},
}
_SCOPES = ["relay", "read-own", "operate-own", "read-all", "operate-all", "admin"]
_SCHEMAS: dict[str, Any] = {
    "NewKey": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            **_KEY_FIELDS,
            "scopes": {"type": "array", "items": {"enum": _SCOPES}, "default": _SCOPES[:3]},
        },
    },
    "KeyChange": {
        "type": "object",
        "additionalProperties": False,
        "properties": _KEY_FIELDS,
    },
    "SignIn": {
        "type": "object",
        "additionalProperties": False,
        "required": ["key"],
        "properties": {"key": {"type": "string"}},
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "instance": {"type": "string"},
            "position": {"type": "integer", "description": "in q, from 0: where it is wrong"},
            "hint": {"type": ["string", "null"], "description": "what may have been meant"},
        },
    },
    "Replay": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "upstream": {"type": "string", "description": "send it there instead"},
            "model": {"type": "string", "description": "replaces the model in body or path"},
            "body_patch": {"description": "RFC 7396 merge patch for the JSON body"},
        },
    },
    "Bulk": {
        "type": "object",
        "properties": {
            "object": {"const": "bulk"},
            "matched": {"type": "integer"},
            "done": {"type": "integer"},
            "refused": {
                "type": "array",
                "description": "at most 1000 are listed",
                "items": {
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "code": {"type": "string"}},
                },
            },
        },
    },
    "Change": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_in_flight": {"type": "integer", "minimum": 1},
            "paused": {"type": "boolean", "description": "false also closes an open breaker"},
        },
    },
}
