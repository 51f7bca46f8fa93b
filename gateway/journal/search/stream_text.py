"""Strings of JSON documents put together: a document by itself, or the events of one stream.

A string belongs to the place where it stands: the names that lead to it, and the numbers by which
events tell parallel texts apart. What events bring to one place follows each other without a gap.
"""

import re
from collections import defaultdict
from typing import TypeAlias

from pydantic import JsonValue

Place: TypeAlias = tuple[object, ...]

MAX_DEPTH = 64
MAX_CHARS = 4_194_304  # kept of all places together

#: Under these names stands what only machines read.
MACHINE = frozenset({
    "object", "type", "role", "id", "model", "modelVersion", "responseId", "status", "event",
    "event_type", "content_filter_results",
    "finish_reason", "finishReason", "stop_reason", "stopReason", "native_finish_reason",
    "system_fingerprint", "service_tier", "encoding_format", "obfuscation", "logprobs", "media_type",
    "top_logprobs", "logprobsResult", "encrypted_content", "signature", "thoughtSignature",
    "thought_signature", "b64_json", "mimeType", "mime_type", "usage", "usageMetadata", "format",
    "response_format", "provider", "created_at", "createTime", "create_time", "detail", "phase",
    "tool_choice", "toolConfig", "tool_config", "generationConfig", "safetyRatings", "safetySettings",
    "stream_options", "cache_control", "metadata", "truncation", "effort", "harmCategory",
})  # fmt: skip
#: Of these only the names are text: a tool's schema is the same in every call.
SCHEMAS = frozenset({"tools", "functions", "functionDeclarations", "input_schema", "parameters"})
SAID = frozenset({
    "content", "text", "output_text", "parts", "refusal", "transcript", "response", "completion",
    "generated_text", "delta", "message",
})  # fmt: skip
THOUGHT = re.compile(r"reason|think|thought|arguments|partial_json|summary|input")
#: What tells parallel texts of one stream apart, and is no text itself.
NUMBERS = ("index", "output_index", "content_index", "summary_index")

#: Events that repeat what others bring in pieces.
REPEATS = re.compile(
    r".*\.done$|response\.(created|in_progress|queued|completed|incomplete|failed)$"
)


class Pieces:
    """The strings of one side of a call."""

    def __init__(self) -> None:
        self._texts: defaultdict[Place, list[str]] = defaultdict(list)
        self._repeats: list[JsonValue] = []
        self._room = MAX_CHARS

    def add(self, document: JsonValue) -> None:
        """Take the next document."""
        if isinstance(document, dict):
            kind = document.get("type")
            if isinstance(kind, str) and REPEATS.match(kind):
                self._repeats.append(document)
                return
            numbers = tuple(_number(document.get(name)) for name in NUMBERS)
            self._walk(document, () if numbers == (None,) * len(NUMBERS) else numbers, 0)
        else:
            self._walk(document, (), 0)

    def all(self) -> str:
        """Everything, a place a line."""
        return "\n".join("".join(texts) for texts in self._places().values())

    def first(self) -> str:
        """What stands first."""
        return next(("".join(texts) for texts in self._places().values()), "")

    def said(self) -> str:
        """What is meant for the reader: neither thoughts nor what was said to tools, if there is such."""
        places = self._places()
        said = [
            "".join(texts)
            for place, texts in places.items()
            if place and place[-1] in SAID and not any(_is_thought(step) for step in place)
        ]
        return " ".join(filter(None, said)) or " ".join("".join(each) for each in places.values())

    def _places(self) -> dict[Place, list[str]]:
        """All texts; repeated ones count where nothing else came."""
        if not self._texts and self._repeats:
            self._walk(self._repeats[-1], (), 0)
        return self._texts

    def _walk(
        self, value: JsonValue, place: Place, depth: int, *, names_only: bool = False
    ) -> None:
        if isinstance(value, str):
            if value and self._room > 0 and not (names_only and place[-1] != "name"):
                self._texts[place].append(value)
                self._room -= len(value)
        elif depth > MAX_DEPTH:
            return
        elif isinstance(value, dict):
            for name, inner in value.items():
                # Perplexity's events bring what is new, and all so far once more.
                repeats = name == "message" and "delta" in value
                if not repeats and not _is_machine(name):
                    only = names_only or name in SCHEMAS
                    self._walk(inner, (*place, name), depth + 1, names_only=only)
        elif isinstance(value, list):
            for at, inner in enumerate(value):
                step = _step(inner, at)
                # A string in a list is named as the list is: `"input": ["a", "b"]`.
                named = (place[-1],) if place and isinstance(inner, str) else ()
                self._walk(inner, (*place, step, *named), depth + 1, names_only=names_only)


def _number(value: JsonValue) -> int | str | None:
    """*value* where it can name a place; in a body of no API that is known it may be anything."""
    return value if isinstance(value, int | str) else None


def _step(item: JsonValue, at: int) -> int:
    """What tells an item of a list from the others, in all events of a stream."""
    number = item.get("index") if isinstance(item, dict) else None
    return number if isinstance(number, int) else at


def _is_machine(name: str) -> bool:
    return name in MACHINE or name.endswith(("_id", "_at", "Id"))


def _is_thought(step: object) -> bool:
    return isinstance(step, str) and THOUGHT.search(step) is not None
