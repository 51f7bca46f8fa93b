"""The README is complete: what the gateway understands and says can be looked up in it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.config import config_keys
from gateway.telemetry.metrics import Metrics
from gateway.web.errors import TABLE

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


def missing(words: list[str], text: str) -> list[str]:
    """Return the *words* that *text* does not hold as whole words."""
    return [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]


def commands(command: click.Command, name: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield name
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


def test_the_config_reference_lists_exactly_the_keys_there_are(readme):
    table = r"^\| `((?:server|journal|limits|webhooks|auth|upstreams)\.[\w.]+)` \|"

    assert sorted(re.findall(table, readme, re.MULTILINE)) == sorted(config_keys())


def test_every_error_code_is_in_the_readme(readme):
    assert missing([*TABLE, "upstream_error"], readme) == []


def test_the_readme_names_exactly_the_metrics_there_are(readme):
    assert set(re.findall(r"`(gateway_\w+)`", readme)) == set(Metrics().names())


def test_every_command_is_in_the_readme(readme):
    assert missing(list(commands(main, "gateway")), readme) == []


def test_the_readmes_toml_loads(readme):
    blocks = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)

    assert blocks
    for block in blocks:
        tomllib.loads(block)


def test_the_shipped_config_needs_no_credential():
    from gateway.config import load

    config = load(ROOT / "config.toml", {})

    assert next(iter(config.upstreams.values())).is_mock
