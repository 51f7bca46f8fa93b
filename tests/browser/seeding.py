"""A gateway with calls of every kind in it, made the way clients make them.

`seed(gateway, upstream)` returns the id of each by name: `plain`, `streamed`, `retried`, `failed`,
`rejected` (a 400 of the upstream), `expired`, `binary`, `cancelled`, and, still open when it returns,
`running` and `queued`: the upstream called `narrow` has one slot, which `running` holds.
"""

import asyncio
import json
from typing import Any

from tests.client import GatewayClient
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import Answer, Gate, Request, Step, held, stream

UPSTREAMS: dict[str, Any] = {
    "openai": {"models": ["gpt-*"], "max_in_flight": 8, "retry": {"max_attempts": 3}},
    "narrow": {"models": ["narrow-*"], "max_in_flight": 1},
}
#: The smallest PNG there is: one transparent pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000000000200010000ffff"
    "0500fe02fea7351db30000000049454e44ae426082"
)
IMAGE = (("Content-Type", "image/png"),)


def completion(text: str, *, model: str = "gpt-4o-mini") -> Answer:
    """An OpenAI chat completion that says *text*."""
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30},
    }  # fmt: skip
    return Answer(body=json.dumps(body).encode())


def streamed(words: list[str]) -> Answer:
    """The same, word by word."""
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]}
        for word in words
    ]
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(words),
                                      "total_tokens": 5 + len(words)}}  # fmt: skip
    lines = [f"data: {json.dumps(each)}\n\n".encode() for each in [*chunks, usage]]
    return stream([*lines, b"data: [DONE]\n\n"])


def chat(text: str, *, model: str = "gpt-4o-mini", **more: Any) -> dict[str, Any]:
    """Return the body of a chat request that asks *text*."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


class Seeds:
    """The ids by name, and the gate that holds `running`."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.gate = Gate()

    def __getitem__(self, name: str) -> str:
        return self.ids[name]


async def seed(gateway: GatewayClient, upstream: ScriptedUpstream) -> Seeds:
    """Make them."""
    seeds = Seeds()

    def choose(request: Request) -> Step:
        text = request.body
        if b"narrow" in text:
            return held(seeds.gate, completion("Done at last.", model="narrow-1"))
        return answers.pop(0) if answers else completion("Hello.")

    answers: list[Step] = [
        completion("The capital of France is Paris."),
        streamed(["Once", " upon", " a", " time", " there", " was", " a", " gateway", "."]),
        503, completion("At the second try."),
        503, 503, 503,
        Answer(400, body=b'{"error":{"message":"max_tokens is too large","code":"invalid"}}'),
        Answer(headers=IMAGE, body=PNG),
    ]  # fmt: skip
    upstream.choose = choose

    async def ask(name: str, text: str, *, expect: int = 200, **said: Any) -> None:
        tags = (("x-gateway-tags", f"team=search, kind={name}"),)
        stream = bool(said.pop("stream", False))
        body = chat(text, stream=True) if stream else chat(text)
        answer = await gateway.chat(json=body, headers=tags, **said)
        assert answer.status == expect, answer.body
        seeds.ids[name] = answer.call_id

    await ask("plain", "What is the capital of France?")
    await ask("streamed", "Tell me a story", stream=True)
    await ask("retried", "Try until it works")
    await ask("failed", "This cannot work", expect=503)
    await ask("rejected", "Ask for too much", expect=400)
    await ask("binary", "Draw one pixel", path="/v1/images/generations")

    async def detach(name: str, text: str, *headers: tuple[str, str]) -> None:
        answer = await gateway.request(
            "POST", "/v1/chat/completions", json=chat(text, model="narrow-1"),
            headers=[("Prefer", "respond-async"), *headers],
        )  # fmt: skip
        assert answer.status == 202, answer.body
        seeds.ids[name] = answer.call_id

    hits = upstream.hits
    await detach("running", "Hold on to the only slot")
    await upstream.wait_hits(hits + 1)
    await detach("queued", "Wait for the only slot")
    await detach("cancelled", "Never mind")
    await gateway.api("POST", f"/-/calls/{seeds['cancelled']}/cancel")
    await detach("expired", "Too late", ("x-gateway-timeout-s", "0.05"))
    await gateway.final(seeds["expired"])
    await asyncio.gather(*(gateway.final(seeds[name]) for name in ("plain", "streamed", "binary")))
    return seeds
