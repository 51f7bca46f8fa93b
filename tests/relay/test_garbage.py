"""What a finished call leaves behind in memory: nothing the cycle collector has to find."""

import gc
from collections import Counter

import pytest

from tests.steps import Answer, cut, raw, reset

CALLS = 20
ENDS = {
    "whole": 200, "refused": 503, "cut": cut(Answer(body=b"x" * 100), 90), "reset": reset(),
    "garbage": raw(b"\x00\xffgarbage\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("answer", ENDS.values(), ids=ENDS)
async def test_a_finished_call_is_no_reference_cycle(gateway, upstream, answer):
    """Under load the collector spent 14 % of the loop's time on calls that held themselves."""
    upstream.answer = answer
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 1}}}) as gw:
        await gw.chat()
        gc.collect()
        gc.disable()
        try:
            for _ in range(CALLS):
                await gw.chat()
            await gw.wait_calls(0, status="queued,running")
            left = Counter(
                type(each).__qualname__
                for each in gc.get_objects()
                if type(each).__module__.startswith("gateway.relay")
            )
        finally:
            gc.enable()

    # A few live as long as the gateway, and the last call may still be in its handler's hands.
    assert {name: n for name, n in left.items() if n > CALLS / 2} == {}
