"""OpenAI's chat completions, embeddings and models, as its official clients read them."""

import hashlib
import math
from array import array
from base64 import b64encode
from collections.abc import Iterator

from gateway.mock import responses
from gateway.mock.question import BadQuestion, Dialect, Endpoint, JsonObject, Question, event

MODELS = ("mock", "mock-large", "mock-embedding")
DEFAULT_DIMENSIONS = 1536  # as text-embedding-3-small
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048  # OpenAI's own limit

#: status: (type, code); any other 4xx is an invalid_request_error, any other 5xx a server_error
_ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def error(status: int, message: str, request_id: str) -> JsonObject:
    """OpenAI's error envelope; the request id travels in its header only."""
    del request_id
    default = ("server_error" if status >= 500 else "invalid_request_error", None)
    kind, code = _ERRORS.get(status, default)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def chat(question: Question) -> JsonObject:
    """Answer `POST /chat/completions`."""
    return {
        "id": f"chatcmpl-{question.unique}",
        "object": "chat.completion",
        "created": question.created,
        "model": question.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": question.text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(question),
    }


def chat_stream(question: Question) -> Iterator[bytes]:
    """Answer it as `chat.completion.chunk` events, usage last where it was asked for."""
    options = question.body.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    chunk: JsonObject = {
        "id": f"chatcmpl-{question.unique}",
        "object": "chat.completion.chunk",
        "created": question.created,
        "model": question.model,
    }
    if with_usage:
        chunk["usage"] = None

    def choice(delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
        return event({**chunk, "choices": choices})

    yield choice({"role": "assistant", "content": "", "refusal": None})
    for word in question.words():
        yield choice({"content": word})
    usage = event({**chunk, "choices": [], "usage": _usage(question)}) if with_usage else b""
    yield choice({}, "stop") + usage + b"data: [DONE]\n\n"


def embeddings(question: Question) -> JsonObject:
    """Answer `POST /embeddings`: unit vectors, the same for the same input."""
    asked = question.body.get("input")
    inputs = asked if isinstance(asked, list) else [asked]
    if inputs and isinstance(inputs[0], int):
        inputs = [inputs]  # one input, already tokens
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise BadQuestion(f"input: expected 1 to {MAX_INPUTS} of them")
    dimensions = question.body.get("dimensions", DEFAULT_DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise BadQuestion(f"dimensions: expected 1 to {MAX_DIMENSIONS}")
    as_base64 = question.body.get("encoding_format") == "base64"
    vectors = (_vector(one, dimensions) for one in inputs)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": i,
                "embedding": b64encode(vector).decode() if as_base64 else vector.tolist(),
            }
            for i, vector in enumerate(vectors)
        ],
        "model": question.model,
        "usage": {
            "prompt_tokens": question.prompt_tokens,
            "total_tokens": question.prompt_tokens,
        },
    }


def models(question: Question) -> JsonObject:
    """Answer `GET /models`, in a form that Anthropic's clients can read as well."""
    return {
        "object": "list",
        "data": [_model(name, question.created) for name in MODELS],
        "first_id": MODELS[0],
        "last_id": MODELS[-1],
        "has_more": False,
    }


def model(question: Question) -> JsonObject:
    """Answer `GET /models/{name}`: every model exists."""
    return _model(question.name, question.created)


OPENAI = Dialect(
    endpoints={
        ("POST", "/chat/completions"): Endpoint(plain=chat, stream=chat_stream),
        ("POST", "/responses"): Endpoint(plain=responses.response, stream=responses.stream),
        ("POST", "/embeddings"): Endpoint(plain=embeddings),
        ("GET", "/models"): Endpoint(plain=models, quick=True),
        ("GET", "/models/{name}"): Endpoint(plain=model, quick=True),
    },
    error=error,
    request_id_header="x-request-id",
)


def _usage(question: Question) -> JsonObject:
    prompt_tokens = question.prompt_tokens
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": question.tokens,
        "total_tokens": prompt_tokens + question.tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _vector(value: object, dimensions: int) -> "array[float]":
    """A pattern of 64 numbers, repeated: 2,048 inputs must not hold up the event loop."""
    digest = hashlib.shake_256(repr(value).encode()).digest(64)
    numbers = [digest[i % 64] - 127.5 for i in range(min(dimensions, 64))]
    repeated = (numbers * math.ceil(dimensions / 64))[:dimensions]
    length = math.hypot(*repeated)
    return array("f", [number / length for number in repeated])


def _model(name: str, created: int) -> JsonObject:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "mock",
        "type": "model",
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }
