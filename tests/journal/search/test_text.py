"""The text of bodies: what each dialect says is found, whatever the bytes, and no more than its share."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.journal.search.text import PREVIEW_CHARS, SIDE_CHARS, read_answer, read_request

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def events(*documents: Any, end: str = "") -> bytes:
    lines = "".join(f"data: {json.dumps(document)}\n\n" for document in documents)
    return f"{lines}{end}".encode()


def test_a_chats_last_user_message_is_its_preview_and_all_of_it_is_searchable() -> None:
    text = read_request(JSON, None, body({
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "first question"},
            {"role": "assistant", "content": "an answer"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is\n this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 999}},
            ]},
        ],
        "tools": [{"type": "function", "function": {
            "name": "lookup", "description": "a long text", "parameters": {"type": "object"}}}],
    }))  # fmt: skip

    assert text.preview == "what is this?"
    for words in ("be brief", "first question", "an answer", "what is", "lookup"):
        assert words in text.words
    for noise in ("gpt-4o", "AAAA", "a long text", "object", "user"):
        assert noise not in text.words


@pytest.mark.parametrize(
    ("document", "preview"),
    [
        ({"contents": [{"role": "user", "parts": [{"text": "gemini asks"}]}]}, "gemini asks"),
        ({"input": "embed me", "encoding_format": "base64"}, "embed me"),
        ({"input": ["one", "two"]}, "two"),
        ({"prompt": "complete me"}, "complete me"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi there"}]}]},
            "hi there",
        ),
        ({"something": {"else": "unknown shape"}}, "unknown shape"),
    ],
)
def test_other_dialects_ask_too(document: Any, preview: str) -> None:
    assert read_request(JSON, None, body(document)).preview == preview


@pytest.mark.parametrize(
    ("document", "preview", "also"),
    [
        (
            {"choices": [{"message": {"reasoning_content": "hmm", "content": "forty two"}}]},
            "forty two",
            "hmm",
        ),
        (
            {"content": [{"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
                         {"type": "text", "text": "claude says"}]},
            "claude says",
            "let me see",
        ),
        ({"candidates": [{"content": {"parts": [{"text": "gemini says"}]}}]}, "gemini says", ""),
        (
            {"output": [{"type": "reasoning", "summary": [{"text": "plan"}]},
                        {"type": "message", "content": [{"text": "responses say"}]}]},
            "responses say",
            "plan",
        ),
        ({"error": {"message": "no such model", "type": "x"}}, "no such model", ""),
        ({"data": [{"embedding": [0.1, 0.2]}]}, None, ""),
    ],
)  # fmt: skip
def test_a_plain_answer_is_what_it_says(document: Any, preview: str | None, also: str) -> None:
    text = read_answer(JSON, None, body(document))

    assert text.preview == preview
    assert also in text.words


@pytest.mark.parametrize(
    ("stream", "preview", "also"),
    [
        (
            events(
                {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
                {"choices": [{"index": 1, "delta": {"content": "other"}}]},
                {"choices": [{"index": 0, "delta": {"content": "lo wor"}}]},
                {"choices": [{"index": 0, "delta": {"content": "ld"}}]},
                end="data: [DONE]\n\n",
            ),
            "Hello world other",
            "",
        ),
        (
            events(
                {"type": "message_start", "message": {"content": [], "model": "claude"}},
                {"type": "content_block_delta", "index": 0,
                 "delta": {"type": "thinking_delta", "thinking": "pon"}},
                {"type": "content_block_delta", "index": 0,
                 "delta": {"type": "thinking_delta", "thinking": "der"}},
                {"type": "content_block_delta", "index": 1,
                 "delta": {"type": "text_delta", "text": "Good "}},
                {"type": "content_block_delta", "index": 1,
                 "delta": {"type": "text_delta", "text": "morning"}},
                {"type": "content_block_delta", "index": 2,
                 "delta": {"type": "input_json_delta", "partial_json": '{"ci'}},
                {"type": "content_block_delta", "index": 2,
                 "delta": {"type": "input_json_delta", "partial_json": 'ty": "Oslo"}'}},
            ),
            "Good morning",
            '{"city": "Oslo"}',
        ),
        (
            events(
                {"type": "response.created", "response": {"instructions": "be brief"}},
                {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi "},
                {"type": "response.output_text.delta", "output_index": 0, "delta": "you"},
                {"type": "response.output_text.done", "output_index": 0, "text": "Hi you"},
                {"type": "response.completed", "response": {"output": [{"text": "Hi you"}]}},
            ),
            "Hi you",
            "",
        ),
        (
            events({"candidates": [{"content": {"parts": [{"text": "al"}]}}]},
                   {"candidates": [{"content": {"parts": [{"text": "pha"}]}}]}),
            "alpha",
            "",
        ),
    ],
)  # fmt: skip
def test_a_stream_is_put_together(stream: bytes, preview: str, also: str) -> None:
    text = read_answer(SSE, None, stream)

    assert text.preview == preview
    assert also in text.words
    assert text.words.count(preview.split(maxsplit=1)[0]) == 1


def test_a_stream_of_which_only_the_end_repeats_everything_is_read_from_that() -> None:
    stream = events({"type": "response.completed", "response": {"output": [{"text": "only here"}]}})

    assert read_answer(SSE, None, stream).preview == "only here"


def test_json_lines_and_lists_of_answers_are_streams() -> None:
    pieces = [{"message": {"content": "one "}}, {"message": {"content": "two"}}]
    lines = b"\n".join(body(piece) for piece in pieces)
    answers = [{"candidates": [{"content": {"parts": [{"text": t}]}}]} for t in ("ab", "cd")]

    assert read_answer("application/x-ndjson", None, lines).preview == "one two"
    assert read_answer(JSON, None, body(answers)).preview == "abcd"


def test_compressed_copies_are_decoded_under_a_bound_and_unknown_codings_are_not_text() -> None:
    said = body({"text": "packed"})
    bomb = gzip.compress(b'{"text":"' + b"a " * 20_000_000)

    assert read_answer(JSON, "gzip", gzip.compress(said)).preview == "packed"
    assert read_answer(JSON, "deflate", zlib.compress(said)).preview == "packed"
    assert read_answer(JSON, "br", said).words == ""
    assert read_answer(JSON, "gzip", said).words == ""
    assert len(read_answer(JSON, "gzip", bomb).words) <= SIDE_CHARS + 1


def test_text_is_taken_as_it_is_forms_by_their_fields_and_binary_not_at_all() -> None:
    form = (
        b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red door\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n\r\n\x00\xff'
        b"\r\n--B--\r\n"
    )

    assert read_answer("text/plain", None, b"just words").words == "just words"
    assert (
        "a red door\nspeech.wav"
        in read_request("multipart/form-data; boundary=B", None, form).words
    )
    assert read_answer("audio/mpeg", None, b"ID3 words").words == ""
    assert read_answer("application/json", None, b"\x00\x01{").words == ""


def test_a_long_text_keeps_its_beginning_and_its_end_and_says_so() -> None:
    words = "first " + "middle " * 50_000 + "last"
    text = read_request(JSON, None, body({"prompt": words}))

    assert text.cut
    assert len(text.words) <= SIDE_CHARS + 1
    assert text.words.startswith("first ")
    assert text.words.endswith(" last")
    assert len(text.preview or "") == PREVIEW_CHARS


def test_half_a_surrogate_pair_spoils_nothing() -> None:
    text = read_answer(JSON, None, b'{"text": "before \\ud83d after"}')

    assert text.preview == "before \N{REPLACEMENT CHARACTER} after"
    text.words.encode()


def test_json_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    assert "hello" in read_answer(JSON, None, b'{"choices":[{"message":{"content":"hello"}},').words


@settings(max_examples=80)
@given(
    st.sampled_from([None, JSON, SSE, "text/plain", "application/x-ndjson", "multipart/form-data"]),
    st.sampled_from([None, "gzip", "br"]),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["messages", "index", "type",
            "content", "delta", "tools"]) | st.text(max_size=5), inner),
        max_leaves=9,
    ).map(body),
)  # fmt: skip
def test_nothing_raises(content_type: str | None, coding: str | None, data: bytes) -> None:
    for read in (read_request, read_answer):
        text = read(content_type, coding, data)
        text.words.encode()
        assert len(text.preview or "") <= PREVIEW_CHARS


@pytest.mark.parametrize("name", ["index", "output_index", "type", "role", "content", "messages"])
def test_a_known_name_may_hold_anything(name: str) -> None:
    """One request that could not be read would have stopped the indexer at each of its starts."""
    for value in (b"[1]", b'{"a":1}', b"null", b"1.5", b"true"):
        document = b'{"%b":%b,"text":"said"}' % (name.encode(), value)

        assert "said" in read_answer(JSON, None, document).words


def test_nesting_without_end_is_no_way_to_stop_it() -> None:
    for depth in (100, 1_000, 100_000):
        deep = b'{"a":' * depth + b'"x"' + b"}" * depth
        read_answer(JSON, None, deep)
        read_answer(SSE, None, b"data: " + deep + b"\n\n")
