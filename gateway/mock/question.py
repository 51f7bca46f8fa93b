"""What the endpoints of both dialects share: the question, the words, the shape of an answer.

Invariant: an answer of n tokens is n words, and the number of pieces of a stream is known before
it is made, so that it can be spread over time, or cut, piece by piece.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

JsonObject: TypeAlias = dict[str, Any]

_SENTENCE = (
    "the gateway waits while a model far away thinks of what to say next and every word of it "
    "arrives in its own time until all of them are here"
)
_WORDS = tuple(_SENTENCE.split())


class BadQuestion(ValueError):
    """The request cannot be answered; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request as an endpoint sees it."""

    body: Mapping[str, Any]  #: the JSON object sent, empty where there was no body
    name: str  #: the part of the path behind the endpoint's own, as in /models/{name}
    unique: str  #: hex, for ids
    created: int  #: seconds since the epoch
    tokens: int  #: how many the answer has

    @property
    def model(self) -> str:
        """The model asked for."""
        model = self.body.get("model")
        return model if isinstance(model, str) else "mock"

    @property
    def wants_stream(self) -> bool:
        """The client asked for Server-Sent Events."""
        return self.body.get("stream") is True

    @property
    def prompt_tokens(self) -> int:
        """A token per four characters of what was asked, as a rule of thumb."""
        asked = ("system", "instructions", "messages", "input")
        return max(1, sum(_characters(self.body.get(key)) for key in asked) // 4)

    @property
    def pieces(self) -> int:
        """How many pieces its stream has: the opening, a piece a word, the ending."""
        return self.tokens + 2

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.words())

    def words(self) -> Iterator[str]:
        """The answer word by word, always the same ones."""
        for i in range(self.tokens):
            word = _WORDS[i % len(_WORDS)]
            yield f" {word}" if i else word


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation of an API: how it answers plainly and, where it can, as a stream."""

    plain: Callable[[Question], JsonObject]
    stream: Callable[[Question], Iterator[bytes]] | None = None  #: yields `Question.pieces` pieces
    quick: bool = False  #: no model has to think: answers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An API's paths (below /v1) and manners. A path may end in `/{name}`."""

    endpoints: Mapping[tuple[str, str], Endpoint]
    error: Callable[[int, str, str], JsonObject]  #: of status, message, request id
    request_id_header: str


def read_body(body: bytes) -> JsonObject:
    """Parse *body* as the JSON object that every endpoint takes.

    Raises: BadQuestion
    """
    if not body:
        return {}
    try:
        parsed = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise BadQuestion(f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BadQuestion("the body is not a JSON object")
    return parsed


def event(data: JsonObject, *, name: str | None = None) -> bytes:
    """Write one Server-Sent Event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + to_json(data) + b"\n\n"


def _characters(value: object) -> int:
    match value:
        case str():
            return len(value)
        case list():
            return sum(map(_characters, value))
        case dict():
            return _characters(value.get("content")) + _characters(value.get("text"))
        case int():
            return 4  # already a token
        case _:
            return 0
