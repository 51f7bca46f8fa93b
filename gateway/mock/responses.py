"""OpenAI's responses, plain and as the full sequence of numbered events.

Nothing is kept: a response asked for in the background is complete when it is first seen, so
nobody has to poll for it.
"""

from collections.abc import Iterator

from gateway.mock.question import JsonObject, Question, event


def response(question: Question) -> JsonObject:
    """Answer `POST /responses`."""
    item = _item(question, "completed", [_part(question.text)])
    return _response(question, "completed", [item], _usage(question))


def stream(question: Question) -> Iterator[bytes]:
    """Answer it as events; `event:` repeats the type, `sequence_number` counts from 0."""
    sequence_number = 0

    def numbered(kind: str, **fields: object) -> bytes:
        nonlocal sequence_number
        data = {"type": kind, "sequence_number": sequence_number, **fields}
        sequence_number += 1
        return event(data, name=kind)

    item_at = {"output_index": 0}
    part_at = {"item_id": f"msg_{question.unique}", "output_index": 0, "content_index": 0}

    queued = _response(question, "queued", [], None)
    running = _response(question, "in_progress", [], None)
    opening = [
        numbered("response.created", response=queued if _in_background(question) else running)
    ]
    if _in_background(question):
        opening.append(numbered("response.queued", response=queued))
    opening += [
        numbered("response.in_progress", response=running),
        numbered("response.output_item.added", **item_at, item=_item(question, "in_progress", [])),
        numbered("response.content_part.added", **part_at, part=_part("")),
    ]
    yield b"".join(opening)

    for word in question.words():
        yield numbered("response.output_text.delta", **part_at, delta=word, logprobs=[])

    text = question.text
    item = _item(question, "completed", [_part(text)])
    whole = _response(question, "completed", [item], _usage(question))
    yield b"".join(
        [
            numbered("response.output_text.done", **part_at, text=text, logprobs=[]),
            numbered("response.content_part.done", **part_at, part=_part(text)),
            numbered("response.output_item.done", **item_at, item=item),
            numbered("response.completed", response=whole),
        ]
    )


def _response(
    question: Question, status: str, output: list[JsonObject], usage: JsonObject | None
) -> JsonObject:
    body = question.body
    return {
        "id": f"resp_{question.unique}",
        "object": "response",
        "created_at": question.created,
        "status": status,
        "background": _in_background(question),
        "completed_at": question.created if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": question.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": usage,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _in_background(question: Question) -> bool:
    return question.body.get("background") is True


def _item(question: Question, status: str, content: list[JsonObject]) -> JsonObject:
    return {
        "id": f"msg_{question.unique}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(question: Question) -> JsonObject:
    prompt_tokens = question.prompt_tokens
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": question.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + question.tokens,
    }
