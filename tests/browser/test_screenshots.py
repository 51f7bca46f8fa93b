"""The README's pictures: real pages over real calls to the simulated API, written by `-m slow`.

python -m pytest -m slow tests/browser/test_screenshots.py
"""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from tests.browser.seeding import chat

PICTURES = Path(__file__).parent / "screenshots"
PHONE = {"width": 390, "height": 844}
MOCK = {"base_url": "mock:", "mock": {"latency_s": 1, "failure_rate": 0.08}}
UPSTREAMS = {
    "openai": {**MOCK, "models": ["gpt-*"], "max_in_flight": 10},
    "anthropic": {**MOCK, "models": ["claude-*"], "max_in_flight": 6, "dialect": "anthropic"},
    "local": {**MOCK, "models": ["llama*"], "max_in_flight": 2},
}
QUESTIONS = [
    "What is the capital of France?",
    "Summarise these meeting notes in three points",
    "Write a haiku about queues",
    "Translate 'good morning' into Japanese",
    "Extract all dates from this contract",
    "Is this review friendly: late, but kind staff",
]
BUSY_S = 45


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_pictures_of_a_busy_gateway(gateway, visit):
    PICTURES.mkdir(exist_ok=True)
    rng = random.Random(7)
    async with (
        gateway(limits={"max_in_flight": 20}, upstreams=UPSTREAMS) as gw,
        asyncio.TaskGroup() as tasks,
    ):
        clients = [
            tasks.create_task(keep_asking(gw, random.Random(number))) for number in range(18)
        ]
        await asyncio.sleep(BUSY_S)
        for scheme in ("light", "dark"):
            page = await visit(
                gw, "?range=5m", color_scheme=scheme, viewport={"width": 1280, "height": 1000}
            )
            await page.get_by_role("heading", name="Running now").wait_for()
            await picture(page, f"overview-{scheme}")
        page = await visit(gw, "calls")
        await page.locator("tr[data-id]").nth(12).wait_for()
        await picture(page, "calls-light")
        retried = await gw.calls(q="status:succeeded attempts:>1 stream:true", limit=100)
        page = await visit(gw, f"calls/{rng.choice(retried)['id']}", color_scheme="dark")
        await page.get_by_role("tab", name="Chat").wait_for()
        await picture(page, "call-dark")
        page = await visit(gw, "?range=5m", viewport=PHONE, device_scale_factor=2)
        await page.get_by_role("heading", name="Calls by outcome").wait_for()
        await picture(page, "phone-light")
        for client in clients:
            client.cancel()


async def picture(page, name):
    await page.wait_for_timeout(1500)  # charts and the first events
    await page.screenshot(path=PICTURES / f"{name}.png")


async def keep_asking(gw, rng):
    """One client: asks, reads, asks again, now and then of an API that fails."""
    while True:
        model = rng.choice(
            ["gpt-4o-mini"] * 5 + ["gpt-4o"] * 2 + ["claude-sonnet"] * 4 + ["llama-70b"]
        )
        said = [f"latency_s={rng.lognormvariate(0.2, 0.6):.2f}"]
        if rng.random() < 0.03:
            said.append("status=429")
        path = "/v1/messages" if model.startswith("claude") else "/v1/chat/completions"
        with contextlib.suppress(TimeoutError):  # a client that has no patience left is real too
            await gw.chat(
                path=path,
                json=chat(
                    rng.choice(QUESTIONS), model=model, stream=rng.random() < 0.5, max_tokens=60
                ),
                headers=[
                    ("x-mock", ", ".join(said)),
                    ("x-gateway-tags", f"team={rng.choice(['search', 'support', 'billing'])}"),
                ],
            )
