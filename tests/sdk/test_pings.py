"""The official clients live through pings: before the head, between events, and into a failure."""

import asyncio
import json

import anthropic
import openai
import pytest

from tests.steps import Gate, hang, held, stall, stream

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
PINGED = {"stream_ping_s": 0.02, "retry": {"max_attempts": 2, "backoff_s": 0.001}}


def openai_events(*words: str, ids: bool = False) -> list[bytes]:
    def event(number: int, word: str) -> bytes:
        delta = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        text = f"data: {json.dumps({**data, 'choices': [delta]})}\n\n"
        return (f"id: {number}\n{text}" if ids else text).encode()

    return [*(event(n, word) for n, word in enumerate(words)), b"data: [DONE]\n\n"]


def anthropic_events(*words: str) -> list[bytes]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    events = [
        {"type": "message_start", "message": message},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in words
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


async def slowly(gate: Gate, turns: int) -> None:
    """Let one chunk out at a time, with several pings' time in between."""
    for _ in range(turns):
        await asyncio.sleep(0.05)
        gate.release()
    gate.open()


@pytest.mark.parametrize("ids", [False, True], ids=["no ids", "ids"])
async def test_openais_client_reads_on_through_pings(gateway, upstream, ids):
    gate = Gate()
    upstream.answer = held(gate, stream(openai_events("a", "b", "c", ids=ids), gate))
    async with gateway(upstreams={"openai": PINGED}) as gw, asyncio.TaskGroup() as tasks:
        tasks.create_task(slowly(gate, 5))
        async with openai.AsyncOpenAI(base_url=f"{gw.url}/v1", api_key="sk") as api:
            answer = await api.chat.completions.create(**ASKED, stream=True)
            words = [chunk.choices[0].delta.content async for chunk in answer]
        (call,) = await gw.calls()
        call = await gw.final(call["id"])

    assert words == ["a", "b", "c"]
    assert (call["status"], call["client_gone"]) == ("succeeded", False)


async def test_anthropics_client_reads_on_through_pings(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate, stream(anthropic_events("a", "b", "c"), gate))
    table = {**PINGED, "dialect": "anthropic"}
    async with gateway(upstreams={"claude": table}) as gw, asyncio.TaskGroup() as tasks:
        tasks.create_task(slowly(gate, 6))
        async with (
            anthropic.AsyncAnthropic(base_url=gw.url, api_key="sk") as api,
            api.messages.stream(**ASKED, max_tokens=9) as answer,
        ):
            text = [word async for word in answer.text_stream]
            message = await answer.get_final_message()

    assert text == ["a", "b", "c"]
    assert message.content[0].text == "abc"


@pytest.mark.parametrize("step", [hang(), stall(0.1, 401)], ids=["no answer", "another answer"])
async def test_the_clients_raise_when_pings_end_in_a_failure(gateway, upstream, step):
    upstream.answer = step
    slow = {**PINGED, "timeouts": {"first_byte_s": 0.2}, "retry": {"max_attempts": 1}}
    tables = {"openai": slow, "claude": {**slow, "dialect": "anthropic"}}
    async with (
        gateway(upstreams=tables) as gw,
        openai.AsyncOpenAI(base_url=f"{gw.url}/v1", api_key="sk", max_retries=0) as api,
        anthropic.AsyncAnthropic(base_url=gw.url, api_key="sk", max_retries=0) as claude,
    ):
        answer = await api.chat.completions.create(**ASKED, stream=True)
        with pytest.raises(openai.APIError):
            [_ async for _ in answer]
        message = await claude.messages.create(**ASKED, max_tokens=9, stream=True)
        with pytest.raises(anthropic.APIError):
            [_ async for _ in message]
