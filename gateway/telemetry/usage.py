"""Usage: the tokens of an answer, read from a copy of its bytes.

The names under which APIs count tokens do not collide, so an answer is understood by its shape and
not by the upstream's dialect: many upstreams speak several. Read are JSON (a list of answers too:
Gemini's stream without `alt=sse`), server-sent events and JSON lines; plain, gzip or deflate. Any
other type or coding (brotli, zstd, AWS event streams) counts nothing here.

Invariants: nothing raises, whatever the bytes; the result does not depend on how they were cut
into chunks; a reader keeps at most about `WHOLE_BYTES`. `test_usage.py` drives all three with
random bytes.
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue
from pydantic_core import from_json

from gateway.call import Usage
from gateway.decoding import Decoder

WHOLE_BYTES = 262_144  # a document (a JSON body, or one line) up to this is parsed whole; …
EDGE_BYTES = 65_536  # … of a longer one only both ends are searched: APIs count first or last
DECODED_BYTES = 8_388_608  # of a compressed answer: a bomb costs 20 ms, once

# What APIs call it. Names that belong together add up: Anthropic and Bedrock count cached input
# apart, Gemini what its tools read and what the model thought; all others count it within.
_INPUT: tuple[set[str], ...] = (
    {"prompt_tokens"},
    {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"},
    {"promptTokenCount", "toolUsePromptTokenCount"},
    {"total_input_tokens", "total_tool_use_tokens"},
    {"inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"},
    {"prompt_eval_count"},
)
_OUTPUT: tuple[set[str], ...] = (
    {"completion_tokens"},
    {"output_tokens"},
    {"candidatesTokenCount", "thoughtsTokenCount"},
    {"total_output_tokens", "total_thought_tokens"},
    {"outputTokens"},
    {"eval_count"},
)
_TOTAL: tuple[set[str], ...] = ({"total_tokens"}, {"totalTokenCount"}, {"totalTokens"})
_NAMES = frozenset().union(*_INPUT, *_OUTPUT, *_TOTAL)
_OLLAMA = ("prompt_eval_count", "eval_count")  # these stand at the top of its answers

# Where the usage object stands: at the top of a document, or in one of these members of it.
_HOLDERS = ("response", "message", "delta", "interaction", "x_groq")

MAX_TOKENS = 10**15  # more is no count, and the journal's integers end at 2**63

# Within a JSON string both quotes of a name are escaped, so this finds keys only.
_COUNT = re.compile(rb'"(%s)"\s*:\s*(\d{1,15})\s*[,}]' % "|".join(sorted(_NAMES)).encode())
# Chunks that say `"usage": null`, as most of OpenAI's do, are not worth a parse.
_USAGE = re.compile(rb'"usage(?:Metadata)?"\s*:\s*\{')
_LINE_TYPES = re.compile(r"event-stream|ndjson|jsonl")


def read_usage(
    *, content_type: str | None, content_encoding: str | None, body: bytes
) -> Usage | None:
    """Return the tokens that the complete *body* reports, or None.

    Meant for the event loop at any size: 1 KB of JSON costs 6 µs, JSON of any length at most 1 ms
    (`WHOLE_BYTES`), lines 1 to 2 ms a MB; a compressed body what inflating it costs besides.
    """
    if content_type == "application/json" and content_encoding is None:
        return _usage(_counts(body))  # what a reader would find, in half the time
    reader = UsageReader(content_type=content_type, content_encoding=content_encoding)
    reader.feed(body)
    return reader.result()


class UsageReader:
    """Reads the tokens of one answer while it arrives.

    `input_tokens` is all input, read from or written to a cache included; `output_tokens` is all
    output, reasoning included; `total_tokens` is the API's own sum, else ours. Streams count
    several times, and the last count holds.
    """

    def __init__(self, *, content_type: str | None, content_encoding: str | None) -> None:
        media_type = (content_type or "").partition(";")[0].strip().lower()
        self._by_line: bool | None = None  #: lines, or one document; None: the first byte tells
        self._is_blind = False  #: there is nothing to read here, or no more
        if _LINE_TYPES.search(media_type):
            self._by_line = True
        elif "json" in media_type:
            self._by_line = False
        elif media_type not in ("", "text/plain"):
            self._is_blind = True
        decoder = Decoder(content_encoding, most_bytes=DECODED_BYTES)
        self._decoder = None if decoder.is_plain else decoder
        self._is_blind |= decoder.failed
        self._open = _Document()  #: the line that has not ended, or the body so far
        self._counts: dict[str, int] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, as they came from the upstream."""
        if self._decoder is not None and not self._is_blind:
            chunk = self._decoder.feed(chunk)
            self._is_blind = self._decoder.failed  # damage and excess leave the whole answer unread
        if self._is_blind:
            return
        if self._by_line is None:
            chunk = chunk.lstrip()
            if not chunk:
                return
            self._by_line = chunk[0] not in b"{["
        if self._by_line:
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
            if end:
                self._read_lines(chunk[:end])
                chunk = chunk[end:]
        self._open.append(chunk)

    def result(self) -> Usage | None:
        """Return the tokens that the bytes so far report, or None."""
        if self._is_blind:
            return None
        return _usage(self._counts | self._open.counts())

    def _read_lines(self, block: bytes) -> None:
        """Read complete lines, of which the first may have begun earlier."""
        if not self._open.is_empty:
            first, *_ = block.splitlines()
            self._open.append(first)
            self._counts |= self._open.counts()
            self._open = _Document()
            block = block[len(first) :]
        if _may_count(block):
            for line in block.splitlines():
                self._counts |= _counts(line)


class _Document:
    """A line or a body as it arrives: all of it while it is short, else only both its ends."""

    __slots__ = ("_bytes", "_data", "_head")

    def __init__(self) -> None:
        self._bytes = 0
        self._head = b""
        self._data = bytearray()

    @property
    def is_empty(self) -> bool:
        return self._bytes == 0

    def append(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > WHOLE_BYTES:
            if not self._head:
                self._head = bytes(self._data[:EDGE_BYTES] + data[:EDGE_BYTES])[:EDGE_BYTES]
            self._data += data[-EDGE_BYTES:]
            del self._data[:-EDGE_BYTES]
        else:
            self._data += data

    def counts(self) -> dict[str, int]:
        data = bytes(self._data)
        return _found(self._head) | _found(data) if self._head else _counts(data)


def _may_count(data: bytes) -> bool:
    return (b'"usage' in data and _USAGE.search(data) is not None) or b'eval_count"' in data


def _counts(document: bytes) -> dict[str, int]:
    """Return what one *document*, a JSON text or a line that holds one, counts, by name."""
    if len(document) > WHOLE_BYTES:
        return _found(document[:EDGE_BYTES]) | _found(document[-EDGE_BYTES:])
    if not _may_count(document):
        return {}
    try:
        # No value is worth a place in the cache of strings: most are seen once.
        parsed = from_json(document.removeprefix(b"data:"), cache_strings="keys")
    except ValueError:  # cut, or with half a surrogate pair in a text, as models will write
        return _found(document)
    counts: dict[str, int] = {}
    for part in parsed if isinstance(parsed, list) else [parsed]:
        for usage in _usage_objects(part):
            for name, value in usage.items():
                if name in _NAMES and (count := _count(value)) is not None:
                    counts[name] = count
    return counts


def _found(text: bytes) -> dict[str, int]:
    """Search *text* for counts without regard to where they stand; the last of a name holds."""
    if not _may_count(text):
        return {}
    return {match[1].decode(): int(match[2]) for match in _COUNT.finditer(text)}


def _usage_objects(document: JsonValue) -> Iterator[Mapping[str, JsonValue]]:
    if not isinstance(document, dict):
        return
    for holder in (document, *map(document.get, _HOLDERS)):
        if isinstance(holder, dict):
            usage = holder.get("usage") or holder.get("usageMetadata")
            if isinstance(usage, dict):
                tokens = usage.get("tokens")  # Cohere's, beside "billed_units"
                yield tokens if isinstance(tokens, dict) else usage
    if "eval_count" in document:
        yield {name: document[name] for name in _OLLAMA if name in document}


def _count(value: JsonValue) -> int | None:
    if isinstance(value, float) and value.is_integer():  # Cohere counts in doubles
        value = int(value)
    if type(value) is int and 0 <= value < MAX_TOKENS:
        return value
    return None


def _usage(counts: Mapping[str, int]) -> Usage | None:
    if not counts:
        return None
    input_tokens = _sum(counts, _INPUT)
    output_tokens = _sum(counts, _OUTPUT)
    total_tokens = _sum(counts, _TOTAL)
    if total_tokens is None:
        total_tokens = (input_tokens or 0) + (output_tokens or 0)
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total_tokens)


def _sum(counts: Mapping[str, int], groups: tuple[set[str], ...]) -> int | None:
    """Add up the first of *groups* that has any count."""
    for group in groups:
        if not group.isdisjoint(counts):
            return sum(counts.get(name, 0) for name in group)
    return None
