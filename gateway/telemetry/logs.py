"""Logs: one line an event on stderr, as JSON or, for people, as coloured text.

Invariants: a line is a line, whatever a client or upstream put into a value (control characters
are escaped, so nothing forges a line or drives a terminal); values have a bounded length; texts
that quote a URL show no credential; a stderr that cannot be written harms no call. Messages of
libraries and of the event loop come the same way. `test_logs.py` checks each.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, TextIO, cast
from weakref import WeakKeyDictionary

import structlog
from pydantic_core import to_json
from typing_extensions import override

VALUE_CHARACTERS = 2_000  # of one value; both ends are kept
TRACEBACK_CHARACTERS = 16_000
LIST_ITEMS = 100

_PLAIN = frozenset({int, float, bool, type(None)})

_QUERY_SECRET = re.compile(r"\b(key|api_key|access_token|token|sig)=[^&\s\"'<>#]*", re.IGNORECASE)
_USERINFO = re.compile(r"://[^\s/?#\"'<>]*@")


def configure(
    *,
    pretty: bool,
    stream: TextIO,
    now: Callable[[], float] = time.time,  # noqa: TID251 - the process's clock, but in tests
) -> None:
    """Send every log line of this process to the buffer of *stream*.

    *pretty* is for a terminal, in colours unless the environment sets `NO_COLOR`; else the lines
    are JSON. *now* is the wall clock, seconds since the epoch. May be called again.
    """
    render = _pretty_renderer(colors=not os.environ.get("NO_COLOR")) if pretty else _json_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _Tame(now),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _Sink(stream.buffer))),
        cache_logger_on_first_use=False,  # a cached one would outlive the next configure
    )
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _FromLibraries)]:
        root.removeHandler(handler)
    root.addHandler(_FromLibraries(logging.WARNING))
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it logs every row it writes


def redact_text(text: str) -> str:
    """Return *text* with the credentials in the URLs that it quotes replaced by `[redacted]`.

    These are the values of `key=`, `api_key=`, `access_token=`, `token=` and `sig=`, and what
    stands before the `@` of a host.
    """
    if "=" in text:
        text = _QUERY_SECRET.sub(r"\1=[redacted]", text)
    if "@" in text:
        text = _USERINFO.sub("://[redacted]@", text)
    return text


def loop_exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught, the same message once a second; for `loop.set_exception_handler`.

    Without that bound, a process out of file descriptors logs thousands of lines at once.
    """
    error, message = context.get("exception"), context["message"]
    told = _told.setdefault(loop, {})
    kind = f"{message} {error!r}"[:VALUE_CHARACTERS]
    last = told.get(kind)
    if last is not None and loop.time() - last.at < 1.0:
        last.suppressed += 1
        return
    if len(told) >= LIST_ITEMS:
        told.clear()
    told[kind] = _Told(loop.time())
    structlog.get_logger().error(
        "loop_exception",
        message=message,
        suppressed=last.suppressed if last else 0,
        exc_info=error,
    )


@dataclass(slots=True)
class _Told:
    """When a message of the event loop was last logged, and how many were not since then."""

    at: float
    suppressed: int = 0


_told: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Told]] = WeakKeyDictionary()


class _Tame:
    """Stamps an event and makes its values safe to print; the last step before rendering."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def __call__(
        self, logger: object, name: str, event: MutableMapping[str, Any]
    ) -> dict[str, Any]:
        stamp = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        tamed = {
            "timestamp": stamp.replace("+00:00", "Z"),
            "level": event.pop("level"),
            "event": _tame(event.pop("event")),
        }
        traceback = event.pop("exception", None)
        for key, value in event.items():
            tamed[key] = value if type(value) in _PLAIN else _tame(value)
        if traceback is not None:
            tamed["exception"] = _cut(
                "\n".join(map(_printable, redact_text(str(traceback)).splitlines())),
                TRACEBACK_CHARACTERS,
            )
        return tamed


def _tame(value: object) -> object:
    if isinstance(value, str):
        return _printable(_cut(redact_text(value), VALUE_CHARACTERS))
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        items = list(value.items())[:LIST_ITEMS]
        return {_printable(str(key)): _tame(item) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tame(item) for item in list(value)[:LIST_ITEMS]]
    return _tame(str(value))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}…[{len(text) - 2 * half} characters left out]…{text[-half:]}"


def _printable(text: str) -> str:
    """Escape what is not printable: line ends, ANSI, bidirectional controls, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _json_line(logger: object, name: str, event: MutableMapping[str, Any]) -> bytes:
    return to_json(event, inf_nan_mode="null")


def _pretty_renderer(*, colors: bool) -> Callable[..., bytes]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: object, name: str, event: MutableMapping[str, Any]) -> bytes:
        if "exception" in event:  # indented, its lines cannot pass for events
            event["exception"] = "    " + event["exception"].replace("\n", "\n    ")
        return renderer(logger, name, event).encode()

    return render


class _Sink:
    """A stream whose failures (a closed pipe, a full disk) end with the line that met them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        with suppress(OSError, ValueError):  # ValueError: closed
            self._stream.write(line)
            self._stream.flush()

    def flush(self) -> None:
        """Nothing: every line is flushed as it is written."""


class _FromLibraries(logging.Handler):
    """Brings what aiohttp, asyncio and others say through `logging`."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the format
            message = str(record.msg)
        structlog.get_logger().log(
            logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING,
            "library_message",
            logger=record.name,
            message=message,
            exc_info=record.exc_info or None,
        )
