"""Calls as JSON lines, with their bodies: one shape for the API and for the command on a file.

A line is the call as `GET /-/calls/{id}` shows it, and then `request_body` and `response_body`, each
with its `…_encoding`: `utf-8`, or `base64` for what is no UTF-8 text; null where no body is here.
Invariant: a line comes in pieces, so no body, however large, is held whole; no read transaction is
open while a piece is on its way.
"""

import codecs
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic_core import to_json

from gateway.errors import GatewayError
from gateway.journal.bodies import Body, answer_body, choose_attempt, request_body
from gateway.journal.filters import Selection
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.journal.shapes import call_json


async def export(
    reader: Reader, selection: Selection, *, owner: str | None = None
) -> AsyncGenerator[bytes, None]:
    """All calls of *owner* that *selection* chooses, as JSON lines in pieces.

    Raises: BadRequest, when looking for them takes too long
    """
    async with aclosing(reader.pages(selection, owner=owner, expand=True)) as pages:
        async for page in pages:
            for record in page:
                async with aclosing(_line(reader, record)) as pieces:
                    async for piece in pieces:
                        yield piece


async def _line(reader: Reader, record: CallRecord) -> AsyncGenerator[bytes, None]:
    yield _escaped(to_json(call_json(record)))[:-1]
    for name, body in (
        ("request_body", await _request(reader, record)),
        ("response_body", await _answer(reader, record)),
    ):
        encoding = None if body is None else await _encoding(reader, body)
        yield b',"%b_encoding":%b,"%b":' % (name.encode(), to_json(encoding), name.encode())
        if body is None:
            yield b"null"
            continue
        async with aclosing(_value(reader, body, encoding)) as pieces:
            async for piece in pieces:
                yield piece
    yield b"}\n"


async def _request(reader: Reader, record: CallRecord) -> Body | None:
    try:
        return await request_body(reader, record)
    except GatewayError:
        return None


async def _answer(reader: Reader, record: CallRecord) -> Body | None:
    """The answer of a final call, as much as came of it."""
    if record.row.answer is None or not record.status.is_final:
        return None
    try:
        return await answer_body(reader, choose_attempt(record, record.row.answer))
    except GatewayError:
        return None


async def _encoding(reader: Reader, body: Body) -> str:
    """Whether all of *body* is text; read once for that, and again to be written."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async with aclosing(reader.body(body.seq, body.attempt)) as pieces:
            async for piece in pieces:
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "base64"
    return "utf-8"


async def _value(reader: Reader, body: Body, encoding: str | None) -> AsyncGenerator[bytes, None]:
    """*body* as a JSON string."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = b""
    yield b'"'
    async with aclosing(reader.body(body.seq, body.attempt)) as pieces:
        async for piece in pieces:
            if encoding == "utf-8":
                yield _escaped(to_json(decoder.decode(piece))[1:-1])
            else:
                rest += piece
                whole = len(rest) - len(rest) % 3  # base64 joins where nothing was padded
                yield b64encode(rest[:whole])
                rest = rest[whole:]
    yield b64encode(rest)
    yield b'"'


def _escaped(json: bytes) -> bytes:
    """*json* without the characters that JSON allows and some readers take for the end of a line."""
    for character in ("\x85", "\u2028", "\u2029"):
        json = json.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return json
