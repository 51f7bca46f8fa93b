"""The API keeps to its own description, whatever it is asked."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None,
    reason="schemathesis is not installed: pip install -e '.[dev]'",
)
async def test_no_question_finds_an_answer_that_is_not_described(gateway_process, tmp_path):
    async with gateway_process() as gw:
        for _ in range(3):
            await gw.chat()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{gw.url}/-/openapi.json", "--checks", CHECKS, "--max-examples", "20"),
            *("--exclude-path", "/-/events"),  # it never ends
            *("--suppress-health-check", "all", "--no-color", "--seed", "1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await process.communicate()
        crashes = [line for line in gw.stderr_lines if "Traceback" in line]

    assert process.returncode == 0, said.decode()[-6000:]
    assert crashes == []
