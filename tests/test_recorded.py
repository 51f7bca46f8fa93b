"""Real exchanges with real AI APIs pass through unchanged, and the journal understands them.

The recordings lie beside the checkout; without them these tests are skipped.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.telemetry.usage import read_usage
from tests.http1 import Headers
from tests.steps import Answer

RECORDED = Path(__file__).parents[2] / "shared" / "recorded" / "dev.jsonl.gz"
FRAMING = {"host", "content-length", "transfer-encoding"}
ADDED = {"x-gateway-call-id", "x-gateway-attempts", "server-timing"}
FINAL = {408, 409, 429} | set(range(500, 600))  # as an answer these say x-should-retry: false


@dataclass(frozen=True)
class Recorded:
    """One exchange as it was recorded."""

    id: str
    method: str
    target: str
    request_headers: Headers
    request_body: bytes
    answer: Answer

    @property
    def content_type(self) -> str | None:
        found = (value for name, value in self.answer.headers if name.lower() == "content-type")
        return next(found, None)


def read_exchange(line: str) -> Recorded:
    record = json.loads(line)

    def body(side: str) -> bytes:
        text = record[f"{side}_body"]
        is_base64 = record[f"{side}_body_encoding"] == "base64"
        return base64.b64decode(text) if is_base64 else text.encode()

    data = body("response")
    is_chunked = record["response_framing"] == "chunked"
    return Recorded(
        id=record["id"],
        method=record["method"],
        target=record["url"],
        request_headers=[tuple(field) for field in record["request_headers"]],
        request_body=body("request"),
        answer=Answer(
            record["status"],
            [tuple(field) for field in record["response_headers"]],
            data,
            list(odd_pieces(data)) if is_chunked else None,
            reason=record["reason"],
        ),
    )


def odd_pieces(data: bytes) -> Iterator[bytes]:
    """Split *data* where no event, line or character ends: 1, 2, 3, 5, 8 … bytes."""
    start, size, following = 0, 1, 2
    while start < len(data):
        yield data[start : start + size]
        start, size, following = start + size, following, size + following


@pytest.fixture(scope="module")
def exchanges() -> list[Recorded]:
    if not RECORDED.exists():
        pytest.skip("the recorded exchanges are not beside this checkout")
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        return [read_exchange(line) for line in lines]


async def test_every_recorded_exchange_passes_unchanged(gateway, upstream, exchanges):
    recorded = {"base_url": upstream.url, "retry": {"max_attempts": 1}}
    differences: dict[str, dict[str, Any]] = {}
    async with gateway(upstreams={"recorded": recorded}) as gw:
        for exchange in exchanges:
            upstream.script, before = [exchange.answer], upstream.hits
            answer = await gw.request(
                exchange.method,
                # GET / is the dashboard's; by the upstream's name it is relayed like any other
                "/recorded/" if exchange.target == "/" else exchange.target,
                headers=exchange.request_headers,
                body=exchange.request_body,
            )
            arrived = upstream.requests[-1] if upstream.hits > before else None
            found = differing(exchange, arrived, answer)
            if arrived is not None:
                found |= await journalled(gw, exchange, answer)
            if found:
                differences[exchange.id] = found

    assert differences == {}
    assert len(exchanges) >= 250
    assert upstream.hits == len(exchanges)


def differing(exchange, arrived, answer) -> dict[str, Any]:
    """What is not as it was recorded, in either direction."""
    if arrived is None:
        return {"not relayed": (answer.status, answer.body)}
    expected, answered = exchange.answer, list(answer.headers)
    own_timing = any(name.lower() == "server-timing" for name, _ in expected.headers)
    added = ADDED - {"server-timing"} if own_timing else ADDED
    final = expected.status in FINAL
    pairs = {
        "method": (exchange.method, arrived.method),
        "target": (exchange.target, arrived.target),
        "request headers": (
            end_to_end(exchange.request_headers, FRAMING),
            end_to_end(arrived.headers, FRAMING),
        ),
        "request body": (exchange.request_body, arrived.body),
        "status": ((expected.status, expected.reason), (answer.status, answer.reason)),
        "headers": (
            end_to_end(expected.headers, {"x-should-retry"} if final else set()),
            end_to_end(answered, FRAMING | added | ({"x-should-retry"} if final else set())),
        ),
        "should retry": ("false" if final else None, answer.header("x-should-retry"))
        if final
        else (None, None),
        "body": (expected.body, answer.body),
        "complete": (True, answer.complete),
    }
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


def end_to_end(headers: Headers, without: set[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in without]


async def journalled(gw, exchange, answer) -> dict[str, Any]:
    """What the journal holds otherwise than it was relayed."""
    target = f"/-/calls/{answer.call_id}"
    call = await gw.call(answer.call_id)
    usage = read_usage(
        content_type=exchange.content_type, content_encoding=None, body=exchange.answer.body
    )
    counted = usage and (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    pairs = {
        "kept request": (
            exchange.request_body,
            (await gw.request("GET", f"{target}/request")).body,
        ),
        "kept answer": (
            exchange.answer.body,
            (await gw.request("GET", f"{target}/response")).body,
        ),
        "kept status": (exchange.answer.status, (call["response"] or {}).get("status")),
        "usage": (counted, call["usage"] and tuple(call["usage"].values())),
    }
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}
