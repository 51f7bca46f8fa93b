"""`gateway keys` in the file of a gateway that is down; for a running one see test_tls.py."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests import configuration
from tests.running_journal import committed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configuration.write(tmp_path / "config.toml", "http://127.0.0.1:9/v1")


def keys(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments, "--config", str(config)])


def test_the_first_key_is_made_before_the_gateway_ever_ran(config):
    made = keys(config, "create", "first", "--scope", "admin", "--expires", "30d", "--json")
    bounds = ("--max-in-flight", "3", "--max-queued", "40", "--max-body-bytes", "1000")
    plain = keys(config, "create", "second", "--model", "gpt-*", *bounds)
    listed = json.loads(keys(config, "list", "--json").stdout)["data"]

    key = json.loads(made.stdout)
    assert (made.exit_code, plain.exit_code) == (0, 0)
    assert {"id", "name", "scopes", "key"} <= key.keys()
    assert (key["name"], key["scopes"]) == ("first", ["admin"])
    assert re.fullmatch(r"gw_[a-z2-7]{16}_[a-z2-7]{40}\n", plain.stdout)
    assert [each["name"] for each in listed] == ["first", "second"]
    assert listed[0]["expires_at"] > listed[0]["created_at"]
    assert (listed[1]["models"], listed[1]["max_in_flight"]) == (["gpt-*"], 3)
    assert (listed[1]["max_queued"], listed[1]["max_body_bytes"]) == (40, 1000)
    assert listed[1]["scopes"] == ["relay", "read-own", "operate-own"]
    assert all("key" not in each for each in listed)


def test_a_key_is_revoked_in_the_file_and_the_trail_says_by_whom(config):
    key_id = json.loads(keys(config, "create", "app", "--json").stdout)["id"]
    done = keys(config, "revoke", key_id)
    unknown = keys(config, "revoke", "nobody")
    listed = json.loads(keys(config, "list", "--json").stdout)["data"]
    table = keys(config, "list")
    trail = committed(config.parent / "gateway.db", "SELECT actor, action, target FROM audit")

    assert (done.exit_code, done.stdout) == (0, "")
    assert unknown.exit_code == 3
    assert listed[0]["revoked_at"] is not None
    assert key_id in table.stdout
    assert trail == [("cli", "key.created", key_id), ("cli", "key.revoked", key_id)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "x", "--scope", "root"),
        ("create", "x", "--max-in-flight", "0"),
        ("create", "x", "--expires", "soon"),
        ("create", "x", "--expires", "2001-01-01T00:00:00Z"),
        ("create", ""),
        ("revoke",),
    ],
)
def test_wrong_usage_is_exit_2_and_makes_nothing(config, arguments):
    done = keys(config, *arguments)

    assert done.exit_code == 2
    assert not (config.parent / "gateway.db").exists()


def test_without_a_journal_there_is_nothing_to_list(config):
    assert keys(config, "list").exit_code == 4
    assert keys(config, "revoke", "x").exit_code == 4
