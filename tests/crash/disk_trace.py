"""What a traced gateway did to its files and said to its peers, in the order in which it did.

strace writes a line where a system call begins and, where another thread came between, one where
it ends. What a call writes or sends may have arrived as soon as it begins; what it syncs, all that
was written before in the same thread, is on the disk when it ends.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from tests import http1
from tests.http1 import Headers

_SYNCS = ("fdatasync", "fsync")
_CALLS = ",".join(("pwrite64", "ftruncate", "unlink", *_SYNCS, "sendto", "sendmsg"))
#: Paths and texts in hexadecimal, sockets with their ports; the name of the trace's file follows.
STRACE = (
    *("strace", "-f", "-qq", "--seccomp-bpf", "-yy", "-xx", "-s", "4000000"),
    *("-e", f"trace={_CALLS}", "-o"),
)

_BEGIN = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_RESULT = re.compile(r"\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_PORTS = re.compile(r"\d+<TCP:\[[^\]]*:(\d+)->[^\]]*:(\d+)\]>")


@dataclass(frozen=True)
class Write:
    """A file may have these bytes from now on."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file may be so long from now on."""

    file: str
    size: int


@dataclass(frozen=True)
class Unlink:
    """A file may be gone from now on."""

    file: str


@dataclass(frozen=True)
class Sync:
    """Everything done to a file so far is on the disk."""

    file: str


@dataclass(frozen=True)
class Send:
    """A peer may have these bytes from now on."""

    ports: tuple[int, int]  #: our own, the peer's
    data: bytes


Event: TypeAlias = Write | Truncate | Unlink | Sync | Send


def read_trace(path: Path) -> list[Event]:
    """Every event of the trace at *path*."""
    events: list[Event | None] = []
    begun: dict[str, tuple[str, str, int]] = {}  # thread: call, arguments, place of its event
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if found := _RESUMED.match(line):
                thread, rest = found.groups()
                name, arguments, at = begun.pop(thread)
                event = _event(name, arguments, _RESULT.search(rest))
                if name in _SYNCS:
                    events.append(event)
                else:
                    events[at] = event
            elif found := _BEGIN.match(line):
                thread, name, rest = found.groups()
                if "<unfinished ...>" in rest:
                    begun[thread] = (name, rest, len(events))
                    events.append(None if name in _SYNCS else _event(name, rest, None))
                else:
                    events.append(_event(name, rest, _RESULT.search(rest)))
    return [event for event in events if event is not None]


def _event(name: str, arguments: str, result: re.Match[str] | None) -> Event | None:
    """What a call did; without a *result* it did not end, and may have done all of it."""
    if result is not None and int(result[1]) < 0:
        return None
    if name.startswith("send"):
        ports = _PORTS.match(arguments)
        data = b"".join(_bytes(text) for text in _TEXT.findall(arguments))
        sent = data if result is None else data[: int(result[1])]
        return Send((int(ports[1]), int(ports[2])), sent) if ports else None
    where = _TEXT.match(arguments) if name == "unlink" else _PATH.match(arguments)
    assert where is not None, arguments[:200]
    file = Path(_bytes(where[1]).decode()).name
    if name == "pwrite64":
        text = _TEXT.search(arguments)
        assert text is not None, arguments[:200]
        offset = re.split(r"[,\s)]+", arguments[text.end() :])[2]
        return Write(file, int(offset), _bytes(text[1]))
    if name == "ftruncate":
        return Truncate(file, int(re.split(r"[,\s)]+", arguments[where.end() :])[1]))
    return Unlink(file) if name == "unlink" else Sync(file)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass(frozen=True)
class Message:
    """One HTTP message that went out whole."""

    start_line: str
    headers: Headers
    body: bytes
    first: int  #: index of the event that began it
    last: int  #: … and of the one that ended it

    @property
    def is_answer(self) -> bool:
        return self.start_line.startswith("HTTP/")


def messages(events: Sequence[Event]) -> list[Message]:
    """Every message that was sent, whoever the peer."""
    sent: dict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
    for at, event in enumerate(events):
        if isinstance(event, Send):
            sent[event.ports].append((at, event.data))
    return [each for pieces in sent.values() for each in _messages(pieces)]


def _messages(pieces: list[tuple[int, bytes]]) -> Iterator[Message]:
    data = b"".join(piece for _, piece in pieces)
    ends = list(accumulate(len(piece) for _, piece in pieces))
    begin = 0
    while (blank := data.find(b"\r\n\r\n", begin)) >= 0:
        start_line, *lines = data[begin:blank].decode("latin-1").split("\r\n")
        headers = [
            (name, text.strip()) for name, _, text in (line.partition(":") for line in lines)
        ]
        body, end = _body(data, blank + 4, headers)
        if end > len(data):
            return
        first, last = pieces[bisect_left(ends, begin + 1)][0], pieces[bisect_left(ends, end)][0]
        yield Message(start_line, headers, body, first, last)
        begin = end


def _body(data: bytes, begin: int, headers: Headers) -> tuple[bytes, int]:
    """The body from *begin* on and where it ends; beyond *data* where it is not whole."""
    if http1.value(headers, "transfer-encoding") is None:
        end = begin + int(http1.value(headers, "content-length") or 0)
        return data[begin:end], end
    body = b""
    while (line := data.find(b"\r\n", begin)) >= 0:
        size = int(data[begin:line], 16)
        body += data[line + 2 : line + 2 + size]
        begin = line + 2 + size + 2
        if size == 0:
            return body, begin
    return body, len(data) + 1
