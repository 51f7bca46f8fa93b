"""HTTP/1.1 as it stands on the wire, for both ends of a test: nothing is normalised.

Names keep their case, fields their order and repetitions, targets their escapes. Texts are latin-1,
so that every byte survives the way there and back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, str]]

#: How a peer that goes away shows itself to whoever reads or writes.
BROKEN = (asyncio.IncompleteReadError, ConnectionError, ValueError)


def values(headers: Headers, name: str) -> list[str]:
    """Return every value of *name*, in order."""
    return [value for field, value in headers if field.lower() == name.lower()]


def value(headers: Headers, name: str) -> str | None:
    """Return the first value of *name*, or None."""
    return next(iter(values(headers, name)), None)


def without(headers: Headers, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return *headers* less those called one of *names* (lower case)."""
    return [(name, value) for name, value in headers if name.lower() not in names]


def head(start_line: str, headers: Headers) -> bytes:
    """Return the bytes up to and including the empty line."""
    lines = [start_line, *(f"{name}: {text}" for name, text in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk; nothing at all is the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(pieces: Iterable[bytes]) -> bytes:
    """Return a whole chunked body."""
    return b"".join(chunk(piece) for piece in [*pieces, b""])


async def read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    """Return start line and fields of the next message. Raises: one of `BROKEN`."""
    text = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
    start_line, *lines = text.split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return start_line, [(name, text.strip(" \t")) for name, _, text in pairs]


async def read_pieces(
    reader: asyncio.StreamReader, headers: Headers, *, until_close: bool = False
) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, the transfer coding taken off. Raises: one of `BROKEN`."""
    if "chunked" in (value(headers, "transfer-encoding") or ""):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    elif (length := value(headers, "content-length")) is not None:
        left = int(length)
        while left:
            piece = await reader.read(min(left, 65_536))
            if not piece:
                raise asyncio.IncompleteReadError(piece, left)
            left -= len(piece)
            yield piece
    elif until_close:
        while piece := await reader.read(65_536):
            yield piece
