"""The house rules are tests: lint, format, types and layering hold in every commit."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["bandit", "-q", "-r", "gateway", "-x", "gateway/dashboard", "-c", "pyproject.toml"],
    ],
    ids=["lint", "format", "types", "layers", "security"],
)
def test_the_code_keeps_the_house_rules(command):
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
