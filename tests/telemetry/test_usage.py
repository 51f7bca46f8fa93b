"""Usage: what each API's answers count, however they are cut, coded or broken."""

import gzip
import json
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.call import Usage
from gateway.telemetry.usage import DECODED_BYTES, WHOLE_BYTES, UsageReader, read_usage

RECORDED = Path(__file__).parents[2].parent / "shared" / "recorded" / "dev.jsonl.gz"


def tokens(input_tokens: int | None, output_tokens: int | None, total: int | None) -> Usage:
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total)


def read(body: bytes, content_type: str | None = "application/json", coding: str | None = None):
    return read_usage(content_type=content_type, content_encoding=coding, body=body)


def read_cut(body: bytes, cuts: list[int], content_type: str | None, coding: str | None = None):
    """Feed *body* in the pieces that *cuts* make."""
    reader = UsageReader(content_type=content_type, content_encoding=coding)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    return reader.result()


def sse(*documents: object, end: str = "\n", done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(document)}{end}{end}" for document in documents]
    return "".join([*lines, f"data: [DONE]{end}{end}" if done else ""]).encode()


ANTHROPIC = sse(
    {
        "type": "message_start",
        "message": {
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 200,
                "cache_read_input_tokens": 3000,
                "output_tokens": 1,
            }
        },
    },
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Grüße 🌍"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}},
    {"type": "message_stop"},
    end="\r\n",
    done=False,
)
OPENAI = sse(
    {"choices": [{"delta": {"content": "Grüße 🌍"}}], "usage": None},
    {
        "choices": [],
        "usage": {"prompt_tokens": 21, "completion_tokens": 180, "total_tokens": 201},
    },
)
GEMINI_PARTS: list[dict[str, Any]] = [
    {"candidates": [], "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}},
    {
        "candidates": [{"content": {"parts": [{"text": "Grüße 🌍"}]}}],
        "usageMetadata": {
            "promptTokenCount": 4,
            "candidatesTokenCount": 7,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 41,
        },
    },
]
OLLAMA = b'{"response":"Gr","done":false}\n{"done":true,"prompt_eval_count":26,"eval_count":51}\n'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"usage": {"prompt_tokens": 21, "completion_tokens": 180, "total_tokens": 201}},
            tokens(21, 180, 201),
        ),
        ({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, tokens(8, None, 8)),
        (
            {
                "usage": {
                    "input_tokens": 9,
                    "input_tokens_details": {"cached_tokens": 5},
                    "output_tokens": 4,
                    "total_tokens": 13,
                }
            },
            tokens(9, 4, 13),
        ),
        (
            {"usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5}},
            tokens(100, 5, 105),
        ),
        (GEMINI_PARTS[1], tokens(4, 37, 41)),
        (GEMINI_PARTS, tokens(4, 37, 41)),
        ({"done": True, "prompt_eval_count": 26, "eval_count": 51}, tokens(26, 51, 77)),
        (
            {
                "usage": {
                    "billed_units": {"input_tokens": 5, "output_tokens": 10},
                    "tokens": {"input_tokens": 607.0, "output_tokens": 13.0},
                }
            },
            tokens(607, 13, 620),
        ),
        (
            {"usage": {"inputTokens": 2, "cacheReadInputTokens": 3, "outputTokens": 4}},
            tokens(5, 4, 9),
        ),
        ({"usage": {"total_tokens": 18}}, tokens(None, None, 18)),
        ({"usage": None}, None),
        ({"usage": {"cost_in_usd_ticks": 5}}, None),
        ({"usage": {"prompt_tokens": "many", "completion_tokens": True}}, None),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": 10**15}}, None),
        ({"usage": {"prompt_tokens": 10**400}}, None),
        ({"usage": {"prompt_tokens": 1.5}}, None),
        ({"choices": [{"message": {"content": '"usage": {"prompt_tokens": 5}'}}]}, None),
        ({"content": [{"input": {"usage": {"input_tokens": 5}}}]}, None),
        ([], None),
        ("usage", None),
    ],
    ids=str,
)
def test_a_plain_answer_tells_its_tokens(answer: object, expected: Usage | None) -> None:
    body = json.dumps(answer, ensure_ascii=False).encode()

    assert expected == read(body)
    assert expected == read(json.dumps(answer, indent=2).encode(), "application/json;charset=UTF-8")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (OPENAI, "text/event-stream; charset=utf-8", tokens(21, 180, 201)),
        (OPENAI, None, tokens(21, 180, 201)),
        (ANTHROPIC, "text/event-stream", tokens(3210, 42, 3252)),
        (ANTHROPIC.replace(b"\r\n", b"\r"), "text/event-stream", tokens(3210, 42, 3252)),
        (sse(*GEMINI_PARTS), "text/event-stream", tokens(4, 37, 41)),
        (json.dumps(GEMINI_PARTS).encode(), None, tokens(4, 37, 41)),
        (
            sse(
                {"type": "response.created", "response": {"usage": None}},
                {
                    "type": "response.completed",
                    "response": {"usage": {"input_tokens": 3, "output_tokens": 4}},
                },
            ),
            "text/event-stream",
            tokens(3, 4, 7),
        ),
        (OLLAMA, "application/x-ndjson", tokens(26, 51, 77)),
        (OLLAMA.rstrip(), "application/x-ndjson", tokens(26, 51, 77)),
        (OPENAI, "application/vnd.amazon.eventstream", None),
        (OPENAI, "audio/mpeg", None),
        (b"\n \n", None, None),
        (b"", "application/json", None),
    ],
)
def test_a_streamed_answer_tells_its_tokens(
    body: bytes, content_type: str | None, expected: Usage | None
) -> None:
    assert expected == read(body, content_type)
    assert expected == read_cut(body, list(range(len(body))), content_type)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate"])
def test_a_compressed_answer_is_read_from_a_decoded_copy(coding: str) -> None:
    body = zlib.compress(OPENAI) if coding == "deflate" else gzip.compress(OPENAI)

    assert tokens(21, 180, 201) == read(body, "text/event-stream", coding)
    assert tokens(21, 180, 201) == read_cut(
        body, list(range(len(body))), "text/event-stream", coding
    )


def test_an_answer_in_a_coding_that_cannot_be_read_counts_nothing() -> None:
    assert read(OPENAI, "text/event-stream", "br") is None
    assert read(OPENAI, "text/event-stream", "gzip, gzip") is None
    assert read(b"no gzip at all", "application/json", "gzip") is None


def test_a_compression_bomb_counts_nothing() -> None:
    inside = b" " * DECODED_BYTES + b'{"usage":{"prompt_tokens":1}}'

    assert read(gzip.compress(inside), "application/json", "gzip") is None
    assert tokens(1, None, 1) == read(gzip.compress(inside[100:]), "application/json", "gzip")


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_of_a_huge_document_both_ends_are_read(content_type: str) -> None:
    image = "A" * (3 * WHOLE_BYTES)
    used = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    for answer in ({"data": image, "usage": used}, {"usage": used, "data": image}):
        body = json.dumps(answer).encode()
        if content_type == "text/event-stream":
            body = b"data: " + body + b"\n\n"

        assert tokens(3, 4, 7) == read(body, content_type)
        assert tokens(3, 4, 7) == read_cut(body, [1, 70_000, WHOLE_BYTES, 400_000], content_type)


def test_text_within_a_huge_answer_is_not_taken_for_its_usage() -> None:
    text = 'He wrote "usage": {"prompt_tokens": 5, "completion_tokens": 6}. ' * 10_000

    assert read(json.dumps({"choices": [{"message": {"content": text}}]}).encode()) is None


def test_half_a_surrogate_pair_in_the_text_hides_nothing() -> None:
    body = b'{"text":"\\ud83d","usage":{"prompt_tokens":1,"completion_tokens":2}}'

    assert tokens(1, 2, 3) == read(body)


def test_a_count_that_was_cut_off_is_not_guessed() -> None:
    body = b'{"usage":{"prompt_tokens":12,"completion_tokens":1'

    assert tokens(12, None, 12) == read(body)


FRAGMENTS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [
                b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}',
                b'{"message":{"usage":{"input_tokens":5,"output_tokens":1}}}',
                b'{"usage":{"output_tokens":9}',
                b'{"usageMetadata":{"promptTokenCount":4}}',
                b'{"eval_count":3,"prompt_eval_count":"x"}',
                b'"usage":{',
                b'"input_tokens":',
                b"17",
                b"[[",
                b"}",
                b"\n",
                b"\r\n",
                b"\r",
                b": ping",
                "é🌍".encode(),
            ]
        ),
    ),
    max_size=12,
).map(b"".join)
TYPES = st.sampled_from(
    [
        "application/json",
        "text/event-stream",
        "application/x-ndjson",
        None,
        "text/plain",
        "image/png",
    ]
)


@given(body=FRAGMENTS, cuts=st.lists(st.integers(0, 400), max_size=8), content_type=TYPES)
@example(body=ANTHROPIC, cuts=[100, 101, 102], content_type="text/event-stream")
def test_no_bytes_and_no_cuts_make_a_difference(
    body: bytes, cuts: list[int], content_type: str | None
) -> None:
    assert read(body, content_type) == read_cut(body, cuts, content_type)


@given(
    body=FRAGMENTS,
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2),
    cuts=st.lists(st.integers(0, 400), max_size=5),
)
def test_damaged_compression_reads_the_same_however_it_is_cut(
    body: bytes, damage: list[tuple[int, int]], cuts: list[int]
) -> None:
    coded = bytearray(gzip.compress(body))
    for place, value in damage:
        coded[place % len(coded)] = value

    whole = read(bytes(coded), "text/event-stream", "gzip")

    assert whole == read_cut(bytes(coded), cuts, "text/event-stream", "gzip")


# Tagged as holding usage, but nothing in them counts the tokens of the answer.
COUNTS_NO_TOKENS = {
    "r-d1e1a35f604e": "Cohere's tokenizer: the list of tokens is the answer",
    "r-356588046efc": "Cohere's first API counts in meta.billed_units",
    "r-170e1e2c9360": "Cohere's rerank counts searches in meta.billed_units",
    "r-e0583dd2d745": "llama.cpp's list of models",
    "r-9c8ddcaf849b": "OpenAI's transcription counts seconds",
    "r-b6f53b97ea2a": "a batch's result file: other calls' usage",
    "r-5a547ae2fcfe": "xAI's images count money",
}


@pytest.fixture(scope="module")
def recordings() -> list[tuple[str, bool, str | None, bytes]]:
    """(id, whether it is said to hold usage, content type, body) of every recorded answer."""
    if not RECORDED.exists():
        pytest.skip("the recorded exchanges are not beside this checkout")
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    return [
        (
            exchange["id"],
            "usage" in exchange["tags"],
            next((v for k, v in exchange["response_headers"] if k.lower() == "content-type"), None),
            exchange["response_body"].encode(),
        )
        for exchange in exchanges
        if exchange["response_body_encoding"] != "base64"
    ]


def test_usage_is_read_from_every_recorded_answer_that_holds_one(
    recordings: list[tuple[str, bool, str | None, bytes]],
) -> None:
    read_in = {name for name, _, content_type, body in recordings if read(body, content_type)}
    said_to = {name for name, tagged, _, _ in recordings if tagged}

    assert said_to - set(COUNTS_NO_TOKENS) == read_in


def test_recorded_answers_count_the_same_however_they_are_cut(
    recordings: list[tuple[str, bool, str | None, bytes]],
) -> None:
    for name, _, content_type, body in recordings:
        cuts = list(range(0, len(body), 1_000 + len(body) // 50))

        assert read(body, content_type) == read_cut(body, cuts, content_type), name
