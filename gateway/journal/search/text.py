"""The human text of a body, whatever API wrote it: what people search for and what a list previews.

A body is understood by its shape, not by its upstream's dialect: all strings of a JSON body are text
but those under names that only machines read, the schemas of tools, and base64. The events of a
stream are put together again, so a word that came in two pieces is one word. Binary, brotli, zstd
and AWS event streams are no text here.

Invariants: nothing raises, whatever the bytes; of a side at most `SIDE_CHARS` are kept, its beginning
and its end; the same bytes give the same text. `test_text.py` holds them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue
from pydantic_core import from_json

from gateway.decoding import Decoder
from gateway.journal.search.stream_text import Pieces

READ_BYTES = 4_194_304  # of a body, and of what it decodes to
#: What is searchable of a request, and of an answer. To index so much holds the writer for 10 ms.
SIDE_CHARS = 65_536
TAIL_CHARS = 16_384  # of them, from the end: what was asked last
PREVIEW_CHARS = 200

Message: TypeAlias = "dict[str, JsonValue]"

_LINES = re.compile(r"event-stream|ndjson|jsonl")
_TEXT = re.compile(r"text/|xml|x-www-form-urlencoded|javascript|yaml")
_BLOB_CHARS = 256
_BLOB = re.compile(rf"(?:data:[\w/+.;=-]{{0,100}},)?[A-Za-z0-9+/_-]{{{_BLOB_CHARS},}}={{0,2}}")
_STRAY = re.compile("[\x00\ud800-\udfff]")
_PART_NAME = re.compile(rb'filename="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Text:
    """What is searchable of one side of a call."""

    words: str = ""
    preview: str | None = (
        None  #: of a request the last words of its user, of an answer what it says
    )
    cut: bool = False  #: there was more


def read_request(content_type: str | None, content_encoding: str | None, body: bytes) -> Text:
    """The text of a request."""
    documents, text = _parse(content_type, content_encoding, body)
    pieces = Pieces()
    for document in documents:
        pieces.add(document)
    said = next(filter(None, map(_last_said, documents)), None)
    return _text(text or pieces.all(), said or text or pieces.first())


def read_answer(content_type: str | None, content_encoding: str | None, body: bytes) -> Text:
    """The text of an answer."""
    documents, text = _parse(content_type, content_encoding, body)
    pieces = Pieces()
    for document in documents:
        pieces.add(document)
    return _text(text or pieces.all(), text or pieces.said())


def _text(words: str, said: str) -> Text:
    words, said = _readable(words), _readable(said[: 8 * PREVIEW_CHARS])
    preview = " ".join(said.split())
    if len(preview) > PREVIEW_CHARS:
        preview = preview[: PREVIEW_CHARS - 1] + "…"
    cut = len(words) > SIDE_CHARS
    if cut:
        words = f"{words[: SIDE_CHARS - TAIL_CHARS]} {words[-TAIL_CHARS:]}"
    return Text(words, preview or None, cut)


def _readable(text: str) -> str:
    """*text* without what SQLite cannot hold and without base64."""
    if not text.isascii() or "\0" in text:
        text = _STRAY.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(text) >= _BLOB_CHARS and any(len(word) >= _BLOB_CHARS for word in text.split()):
        text = _BLOB.sub(" ", text)
    return text


def _parse(
    content_type: str | None, content_encoding: str | None, body: bytes
) -> tuple[list[JsonValue], str]:
    """JSON documents of *body*, or its text."""
    decoder = Decoder(content_encoding, most_bytes=READ_BYTES)
    body = decoder.feed(body[:READ_BYTES])
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type.startswith("multipart/"):
        return [], _form(content_type or "", body)
    start = body[len(body) - len(body.lstrip()) :][:1]
    if _LINES.search(media_type) or (not media_type and body.startswith((b"data:", b"event:"))):
        return list(_events(body)), ""
    if start in (b"{", b"[") and (parsed := _json(body)) is not None:
        return (parsed if isinstance(parsed, list) else [parsed]), ""
    if start in (b"{", b"[") and (events := list(_events(body))):
        return events, ""  # JSON lines that nobody called so
    if not media_type or "json" in media_type or _TEXT.search(media_type):
        return [], _plain(body)
    return [], ""


def _plain(body: bytes) -> str:
    """*body* as text, unless it is binary."""
    if b"\0" in body:
        return ""
    return body.decode("utf-8", "replace")


def _json(text: bytes) -> JsonValue:
    """*text* parsed, as far as it goes; None where it is no JSON."""
    try:
        parsed: JsonValue = from_json(text, allow_partial=True, cache_strings="keys")
    except ValueError:  # half a surrogate pair, as models will write, or no JSON
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return parsed


def _events(body: bytes) -> Iterator[JsonValue]:
    """The JSON documents of server-sent events or JSON lines."""
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()
        if data[:1] in (b"{", b"[") and (parsed := _json(data)) is not None:
            yield parsed


def _form(content_type: str, body: bytes) -> str:
    """The text fields of a form, and the names of its files."""
    _, _, boundary = content_type.partition("boundary=")
    texts: list[str] = []
    for part in body.split(b"--" + boundary.strip('"; ').encode("latin-1", "replace")):
        head, _, content = part.partition(b"\r\n\r\n")
        if name := _PART_NAME.search(head):
            texts.append(name[1].decode("utf-8", "replace"))
        elif b"\0" not in content:
            texts.append(content.decode("utf-8", "replace").strip())
    return "\n".join(filter(None, texts))


def _last_said(document: JsonValue) -> str | None:
    """What the user of a conversation said last; or the prompt, where there is no conversation."""
    if not isinstance(document, dict):
        return None
    for name in ("messages", "contents", "input", "prompt", "query", "text", "texts"):
        value = document.get(name)
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            continue
        for message in reversed(value):
            said = message if isinstance(message, str) else _said(message)
            if said:
                return said
    return None


def _said(message: JsonValue) -> str | None:
    if not isinstance(message, dict) or message.get("role", "user") != "user":
        return None
    pieces = Pieces()
    pieces.add(message)
    return pieces.said()
