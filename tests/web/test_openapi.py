"""What is described is there."""

import re


async def test_every_path_that_is_described_answers(gateway, upstream):
    async with gateway() as gw:
        described = (await gw.api("GET", "/-/openapi.json"))["paths"]
        answers = {}
        for path, methods in described.items():
            target = re.sub(r"\{\w+\}", "nowhere", path)
            for method in methods:
                answer = answers[path, method] = await gw.send(method.upper(), target)
                await answer.read_head()
                if answer.header("content-type") != "text/event-stream; charset=utf-8":
                    await answer.read()  # the events never end

    wrong = [
        which
        for which, answer in answers.items()
        if answer.status == 405 or b"nothing at this path" in answer.body
    ]
    assert wrong == []
