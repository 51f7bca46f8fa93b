"""`gateway check` as a shell sees it: exit code, stdout, stderr."""

import json
import tomllib

import pytest
from click.testing import CliRunner

from gateway.cli.check import check


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command beside a config.toml of this text; None: without one."""

    def run(text: str | None, *arguments: str, **environ: str):
        monkeypatch.chdir(tmp_path)
        if text is not None:
            (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        return CliRunner().invoke(check, arguments, env=environ)

    return run


KEYED = '[upstreams.openai]\nbase_url = "https://api.openai.com/v1"\napi_key = "${THE_KEY}"'


def test_a_good_config_is_printed_with_its_secrets_masked(run):
    done = run(KEYED, THE_KEY="sk-0123456789-abcd")

    assert (done.exit_code, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout)["server"]["port"] == 8080
    assert 'api_key = "[set, ends in abcd, sha256 ' in done.stdout
    assert "sk-0123456789" not in done.output


def test_the_secrets_of_webhooks_are_masked_and_what_is_printed_is_toml(run):
    secret = "whsec_" + "0123456789" * 4
    text = (
        f'[webhooks]\nprevious_secret = "{secret}"\n[webhooks.secrets]\n"a.example" = "{secret}"\n'
    )
    done = run(text + KEYED, THE_KEY="sk-0123456789-abcd")

    assert done.exit_code == 0
    shown = tomllib.loads(done.stdout)["webhooks"]
    masked = "[set, ends in 6789, sha256 "
    assert shown["previous_secret"].startswith(masked)
    assert shown["secrets"]["a.example"].startswith(masked)
    assert (
        "others may read the file, with webhooks.previous_secret, webhooks.secrets.a.example"
        in (done.stderr)
    )


def test_json_says_the_same(run):
    done = run(KEYED, "--json", THE_KEY="sk-0123456789-abcd")

    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert shown["upstreams"]["openai"]["api_key"].startswith("[set")
    assert shown["webhooks"]["secret"] is None


@pytest.mark.parametrize(
    ("key", "mode", "is_told"),
    [("sk-1", 0o644, True), ("sk-1", 0o640, True), ("sk-1", 0o600, False), ("${K}", 0o644, False)],
)
def test_a_secret_that_others_may_read_is_told(run, tmp_path, key, mode, is_told):
    path = tmp_path / "keyed.toml"
    path.write_text(f'[upstreams.a]\nbase_url = "mock:"\napi_key = "{key}"\n')
    path.chmod(mode)
    done = run(None, "--config", str(path), K="sk-2")

    assert done.exit_code == 0
    told = f"{path}: others may read the file, with upstreams.a.api_key\n"
    assert done.stderr == (told if is_told else "")


@pytest.mark.parametrize(
    ("mode", "is_told"),
    [(0o700, False), (0o755, False), (0o770, True), (0o757, True), (0o1777, True)],
)
def test_a_directory_that_others_may_write_to_is_told(run, tmp_path, mode, is_told):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    done = run('[journal]\npath = "data/calls.db"\n' + KEYED, THE_KEY="sk-1")

    assert done.exit_code == 0
    told = f"config.toml: others may write to {tmp_path / 'data'}, where the journal is\n"
    assert done.stderr == (told if is_told else "")


def test_every_problem_goes_to_stderr_with_exit_code_2(run, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("[server]\nprot = 1\n" + KEYED, encoding="utf-8")
    done = run(None, "--config", str(other))

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{other}: upstreams.openai.api_key: ${{THE_KEY}} is not set in the environment",
        f"{other}: server.prot: unknown key; did you mean port?",
    ]


def test_without_a_config_it_says_how_to_make_one(run):
    done = run(None)

    assert done.exit_code == 2
    assert done.stderr.startswith("config.toml: no such file; the least it needs is")
