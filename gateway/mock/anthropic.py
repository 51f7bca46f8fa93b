"""Anthropic's messages and token count, as its official client reads them."""

from collections.abc import Iterator

from gateway.mock.question import Dialect, Endpoint, JsonObject, Question, event

_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error(status: int, message: str, request_id: str) -> JsonObject:
    """Anthropic's error envelope."""
    default = "api_error" if status >= 500 else "invalid_request_error"
    kind = _ERROR_TYPES.get(status, default)
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


def message(question: Question) -> JsonObject:
    """Answer `POST /messages`."""
    content = [{"type": "text", "text": question.text}]
    return _message(question, content, "end_turn", question.tokens)


def message_stream(question: Question) -> Iterator[bytes]:
    """Answer it as events, with a `ping` where Anthropic sends its first."""

    def typed(kind: str, **fields: object) -> bytes:
        return event({"type": kind, **fields}, name=kind)

    block: JsonObject = {"type": "text", "text": ""}
    yield b"".join(
        [
            typed("message_start", message=_message(question, [], None, 1)),
            typed("content_block_start", index=0, content_block=block),
            typed("ping"),
        ]
    )
    for word in question.words():
        delta = {"type": "text_delta", "text": word}
        yield typed("content_block_delta", index=0, delta=delta)
    yield b"".join(
        [
            typed("content_block_stop", index=0),
            typed(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": question.tokens},
            ),
            typed("message_stop"),
        ]
    )


def count_tokens(question: Question) -> JsonObject:
    """Answer `POST /messages/count_tokens`."""
    return {"input_tokens": question.prompt_tokens}


ANTHROPIC = Dialect(
    endpoints={
        ("POST", "/messages"): Endpoint(plain=message, stream=message_stream),
        ("POST", "/messages/count_tokens"): Endpoint(plain=count_tokens, quick=True),
    },
    error=error,
    request_id_header="request-id",
)


def _message(
    question: Question, content: list[JsonObject], stop_reason: str | None, output_tokens: int
) -> JsonObject:
    return {
        "id": f"msg_{question.unique}",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": question.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    }
