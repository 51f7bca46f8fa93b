"""What the call page works out, run in Chromium as it is shipped: JSON, streams, commands to copy."""

import asyncio
import gzip
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.steps import Answer
from tests.test_recorded import RECORDED

Logic = Callable[..., Awaitable[Any]]

CONVERSATIONS = {"chat", "responses", "messages", "generate-content"}
#: What no model said: an error, an empty answer, or frames that are not text.
SILENT_TAGS = {"error", "empty-response"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def logic(seeded: Any, browser: Any) -> AsyncIterator[Logic]:
    """Return `await logic("(m, x) => m.pretty(x)", x)`: a function over the page's own exports."""
    page = await browser.new_page()
    await page.goto(f"{seeded.url}/-/ui/upstreams")
    await page.evaluate(
        "import(document.querySelector('script[type=module]').src.replace('app.js', 'call.js'))"
        ".then(module => { window.logic = module; })"
    )

    async def run(function: str, argument: Any = None) -> Any:
        return await page.evaluate(f"argument => ({function})(window.logic, argument)", argument)

    yield run
    await page.close()


def without_space(text: str) -> str:
    """*text* less the white space between its tokens."""
    kept, inside, escaped = [], False, False
    for character in text:
        if inside:
            kept.append(character)
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character not in " \t\r\n":
            kept.append(character)
            inside = character == '"'
    return "".join(kept)


def random_json(rng: random.Random, depth: int = 0) -> str:
    """A document as somebody might write it: any spacing, duplicate keys, numbers of any length."""
    space = rng.choice(["", " ", "\n  ", "\t"])
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind == 0:
        return rng.choice(["12345678901234567890123", "-0.10", "1E400", "0", "1.0e-7"])
    if kind < 4:
        return json.dumps(
            "".join(rng.choice(['a"', "\\", "\n", "é", "😀", "{[,:]}", " "]) for _ in range(6)),
            ensure_ascii=rng.random() < 0.5,
        )
    if kind == 4:
        return rng.choice(["null", "true", "false"])
    members = [random_json(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 5:
        return f"[{space}{f',{space}'.join(members)}{space}]"
    pairs = [f'"{rng.choice("ab")}"{space}:{space}{member}' for member in members]
    return f"{{{space}{f'{space},'.join(pairs)}{space}}}"


async def test_pretty_json_is_the_same_tokens_indented(logic: Logic) -> None:
    rng = random.Random(20)
    corpus = [random_json(rng) for _ in range(400)]
    corpus += [
        '{"id":12345678901234567890,"id":1.10,"z":[],"a":{}}', "[1,2\n,3]", '{"a":1}\n{"a":2}',
        '{"cut": "in the mid', '{"cut": [1, 2', "[", '"\\\\"', "", "1 2", "[1e5 , -0.0]",
    ]  # fmt: skip
    laid_out = await logic("(m, texts) => texts.map(m.pretty)", corpus)

    for text, shown in zip(corpus, laid_out, strict=True):
        if text == "1 2":  # two documents stay two
            assert shown.split() == ["1", "2"]
        else:
            assert without_space(shown) == without_space(text)


async def test_tokens_of_a_line_are_the_line(logic: Logic) -> None:
    rng = random.Random(21)
    corpus = [random_json(rng) for _ in range(200)]
    lost = await logic(
        """(m, texts) => texts.flatMap(m.pretty).flatMap(text => text.split("\\n"))
            .filter(line => m.tokens(line).map(token => token.text).join("") !== line)""",
        corpus,
    )

    assert lost == []


async def test_twenty_megabytes_are_laid_out_in_seconds(logic: Logic) -> None:
    took_ms, size = await logic(
        """m => {
            const item = `{"n":12345678901234567890,"text":"${"lorem ipsum ".repeat(15)}"}`;
            const text = `[${Array(95000).fill(item).join(",")}]`;
            const begin = performance.now();
            m.pretty(text);
            return [performance.now() - begin, text.length];
        }"""
    )

    assert size > 19_000_000
    assert took_ms < 5000


async def test_answers_of_real_apis_are_read_as_conversations(logic: Logic) -> None:
    """Whole or streamed: somebody said something, and a stream's pieces are one message."""
    if not RECORDED.exists():
        pytest.skip("the recordings are not here")
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    wanted = [
        each
        for each in exchanges
        if each["kind"] in CONVERSATIONS
        and each["status"] == 200
        and not SILENT_TAGS & set(each["tags"])
        and each["response_body_encoding"] == "utf-8"
        and each["response_body"].strip()
    ]
    assert len(wanted) > 80
    given = [
        {
            "request": each["request_body"] if each["request_body_encoding"] == "utf-8" else "",
            "answer": each["response_body"],
            "type": next(
                (v for n, v in each["response_headers"] if n.lower() == "content-type"), None
            ),
        }
        for each in wanted
    ]
    read = await logic(
        """(m, given) => given.map(({ request, answer, type }) => {
            let document; try { document = JSON.parse(request); } catch {}
            const found = m.understand(answer, type, true);
            const parts = (found.answers ?? []).flatMap(message => message.parts);
            return {
                asked: m.readRequest(document)?.messages.length ?? 0, failed: found.failure !== null,
                parts: parts.length, other: parts.filter(part => part.kind === "other").length,
            };
        })""",
        given,
    )

    silent = [
        f"{each['id']} {each['provider']} {each['kind']}"
        for each, found in zip(wanted, read, strict=True)
        if not found["parts"] and not found["failed"]
    ]
    unasked = [
        f"{each['id']} {each['provider']} {each['kind']}"
        for each, found in zip(wanted, read, strict=True)
        if not found["asked"] and each["request_body"].startswith("{")
    ]
    assert (silent, unasked) == ([], [])


NASTY = """@it's "quoted" $HOME `id` \\ !! %s \\n é 😀 \u2028 \x7f
and a second line with a tab\t; rm -rf * #\n"""


async def test_what_is_copied_sends_the_request_again(
    gateway: Any, upstream: Any, visit: Any, tmp_path: Any
) -> None:
    """Run as it is copied it makes the same request: method, target, headers, every byte."""
    upstream.answer = Answer()
    headers = [
        ("Content-Type", 'text/plain; x="it\'s"'),
        ("X-Odd", "$(id) `id` \\ '!'"),
        ("Authorization", "Bearer secret"),
    ]
    async with gateway() as gw:
        page = await visit(gw, "upstreams")
        for body in (NASTY.encode(), b"", b"[1]" * 30_000, b"\x00\xff binary"):
            first = await gw.request(
                "POST", "/v1/a%20b/[x]{1,2}?q=it's&r=%22", body=body, headers=headers
            )
            for language in ("toCurl", "toPython"):
                text, file = await page.evaluate(COPY, [first.call_id, language])
                if file:
                    (tmp_path / file).write_bytes(body)
                await run(text, language, cwd=tmp_path)
                sent, *_, again = upstream.requests
                assert (file is not None) == (len(body) > 65_536 or b"\x00" in body)
                assert (again.method, again.target) == (sent.method, sent.target)
                assert again.body == body
                for name, value in headers:
                    assert again.header(name) == value

    assert upstream.hits == 12


#: Of a call's id and a function's name: what is copied, and the file that it reads.
COPY = """async ([id, name]) => {
    const app = document.querySelector("script[type=module]").src;
    const m = await import(app.replace("app.js", "call.js"));
    const call = await (await fetch(`../calls/${id}`)).json();
    const body = await (await fetch(`../calls/${id}/body?attempt=0`)).arrayBuffer();
    const made = m[name](call, new Uint8Array(body));
    return [made.text, made.file];
}"""


async def run(text: str, language: str, *, cwd: Path) -> None:
    """Run *text* as somebody would who pasted it."""
    command = ["sh", "-c", text] if language == "toCurl" else [sys.executable, "-c", text]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, "GATEWAY_KEY": "secret"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
