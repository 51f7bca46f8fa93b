"""Which upstream a request goes to, and with which path. Pure.

Invariants: only the configuration names an address; the path travels as the client wrote it; what
could climb out of an upstream's base path is refused, in any encoding.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from gateway import config
from gateway.errors import BadRequest, UnknownUpstream

_MODEL_IN_PATH = re.compile(r"/models/([^/:?]+(?:/[^/:?]+)*?)(?::[A-Za-z]+)?\Z")
MODEL_CHARS = (
    512  # of a model's name that are told of its call: the longest of any cloud has some 200
)
_DECODINGS = 3  # by whoever comes after us: %252e%252e is a dot segment to one who decodes twice


class Route(NamedTuple):
    """Where a request goes: *target* is the path that follows the upstream's base_url."""

    upstream: config.Upstream
    target: str


def check_path(path: str) -> None:
    """Refuse what no API needs and a path traversal does.

    Raises: BadRequest - dot segments, backslashes, control characters, each in any encoding
    """
    if not path.startswith("/"):
        raise BadRequest("the request target must be a path")
    if "%" not in path and "/." not in path and "\\" not in path and path.isprintable():
        return
    text = path.encode("utf-8", "surrogateescape")
    for _ in range(_DECODINGS + 1):
        if b"\\" in text:
            raise BadRequest("the path holds a backslash")
        if any(byte < 0x20 or byte == 0x7F for byte in text):
            raise BadRequest("the path holds a control character")
        if any(segment in (b".", b"..") for segment in text.split(b"/")):
            raise BadRequest("the path holds a dot segment")
        decoded = unquote_to_bytes(text)
        if decoded == text:
            return
        text = decoded


def choose(
    path: str, *, named: str | None, model: str | None, upstreams: Mapping[str, config.Upstream]
) -> Route:
    """The upstream for *path*: by name, by path prefix, by model, by API, else the first.

    Raises: UnknownUpstream - where the client names one that is not configured
    """
    prefix = named_in(path, upstreams)
    if named is not None:
        if named not in upstreams:
            raise UnknownUpstream(f"no upstream is called {named!r}")
        chosen = upstreams[named]
    elif prefix is not None:
        chosen = upstreams[prefix]
    else:
        chosen = _by_content(path, model or model_in_path(path), upstreams)
    if prefix == chosen.name:
        return Route(chosen, path[len(prefix) + 1 :])
    return Route(chosen, target_path(path, chosen))


def named_in(path: str, upstreams: Mapping[str, config.Upstream]) -> str | None:
    """The upstream whose name *path* begins with."""
    name = path[1:].partition("/")[0]
    return name if name in upstreams else None


def target_path(path: str, upstream: config.Upstream) -> str:
    """*path* as it follows base_url, which stands for the gateway's `/v1` where it has a path itself."""
    has_path = not upstream.is_mock and "/" in upstream.base_url.partition("://")[2]
    if has_path and (path == "/v1" or path.startswith("/v1/")):
        return path[3:]
    return path


def model_in_path(path: str) -> str | None:
    """The model of `/models/{model}`, decoded; Gemini's `:method` is no part of it."""
    found = _MODEL_IN_PATH.search(path)
    return unquote(found.group(1)) if found else None


def told_model(model: str | None) -> str | None:
    """*model* as it is kept and shown: each list, event and glob over calls carries it."""
    return None if model is None else model[:MODEL_CHARS]


def with_model(path: str, model: str) -> str:
    """*path*, which names a model, with *model* in its place."""
    found = _MODEL_IN_PATH.search(path)
    assert found is not None
    return path[: found.start(1)] + quote(model, safe="") + path[found.end(1) :]


def _by_content(
    path: str, model: str | None, upstreams: Mapping[str, config.Upstream]
) -> config.Upstream:
    every = list(upstreams.values())
    if model is not None:
        for upstream in every:
            if upstream.serves(model):
                return upstream
    dialect = None
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        dialect = "anthropic"
    elif path.startswith("/v1beta"):
        dialect = "gemini"
    for upstream in every:
        if upstream.dialect == dialect:
            return upstream
    return every[0]
