"""config.toml: what it may say, what is refused and how, and that no secret gets out."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.config import (
    Config,
    Retry,
    Timeouts,
    Upstream,
    as_toml,
    config_keys,
    load,
    load_journal_path,
    masked,
    reload_refusals,
)
from gateway.errors import ConfigError

ROOT = Path(__file__).parents[1]

MINIMAL = """
[upstreams.openai]
base_url = "https://api.openai.com/v1"
"""

EVERYTHING_AT_ITS_DEFAULT = """
[server]
host = "127.0.0.1"
port = 8080
max_body_bytes = 33554432
drain_s = 30
allowed_hosts = []
allowed_origins = []
trusted_proxies = []

[journal]
path = "gateway.db"
durability = "power-loss"
keep_bodies_days = 30
keep_calls_days = 365

[limits]
max_in_flight = 1000
max_queued = 10000
max_queued_detached = 100000
max_queued_bytes = 268435456
max_arriving_bytes = 268435456
queue_timeout_s = 300

[webhooks]
secret = "${GATEWAY_WEBHOOK_SECRET}"
allowed_hosts = []

[auth]
required = false

[upstreams.openai]
base_url = "https://api.openai.com/v1"
api_key = "${OPENAI_API_KEY}"
auth = "bearer"
dialect = "openai"
models = ["gpt-*", "o*"]
allowed_paths = []
allowed_headers = []
max_in_flight = 100
adaptive = false
on_disconnect = "finish"
on_disconnect_stream = "cancel"
stream_ping_s = 0
bodies = "full"
on_interrupted = "retry"
timeouts = { connect_s = 5, first_byte_s = 300, idle_s = 120, total_s = 900 }

[upstreams.openai.retry]
max_attempts = 4
backoff_s = 0.5
backoff_max_s = 30
budget = 0.2
statuses = [408, 429, 500, 502, 503, 504, 529]

[upstreams.openai.breaker]
enabled = false
failure_share = 0.5
min_attempts = 20
window_s = 60
pause_s = 10
pause_max_s = 60
probes = 3
ramp_s = 30

[upstreams.openai.mock]
latency_s = 10
jitter = 0
failure_rate = 0
failures = ["500", "503", "429", "reset", "cut"]
tokens = 50
"""

ENVIRON = {
    "GATEWAY_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OPENAI_API_KEY": "sk-test-0123456789",
}


@pytest.fixture
def write(tmp_path):
    """Write a config file and say where it is."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def problems(write):
    """What is wrong with a config, without the file's name, which every line begins with."""

    def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigError) as refusal:
            load(path, environ or {})
        lines = refusal.value.message.split("\n")

        assert lines == refusal.value.problems
        assert all(line.startswith(f"{path}: ") for line in lines)
        return [line.removeprefix(f"{path}: ") for line in lines]

    return problems


# What is in force


def test_every_key_but_a_base_url_may_be_left_out(write):
    """The long file spells the defaults out, so both mean the same."""
    whole = load(write(EVERYTHING_AT_ITS_DEFAULT), ENVIRON)
    short = load(
        write(
            '[webhooks]\nsecret = "${GATEWAY_WEBHOOK_SECRET}"\n'
            f'{MINIMAL}api_key = "${{OPENAI_API_KEY}}"\nmodels = ["gpt-*", "o*"]'
        ),
        ENVIRON,
    )

    assert whole.sources != short.sources
    assert whole.model_copy(update={"sources": short.sources}) == short
    assert whole.upstreams["openai"].api_key == SecretStr("sk-test-0123456789")
    assert whole.upstreams["openai"].timeouts == Timeouts(
        connect_s=5, first_byte_s=300, idle_s=120, total_s=900
    )
    assert whole.upstreams["openai"].retry.statuses == {408, 429, 500, 502, 503, 504, 529}


def test_the_list_of_keys_is_complete():
    """What the long file above says, TLS and further secrets are all there is."""
    said = {
        key.replace(".openai.", ".NAME.")
        for key in _keys_of(tomllib.loads(EVERYTHING_AT_ITS_DEFAULT))
    }

    without_default = {"webhooks.previous_secret", "webhooks.secrets.HOST"}
    assert set(config_keys()) == said | TLS | without_default


TLS = {"server.tls_certificate", "server.tls_key"}


def _keys_of(table: dict, prefix: str = "") -> set[str]:
    keys = set()
    for key, value in table.items():
        keys |= _keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


def test_the_config_in_the_repository_needs_no_credential():
    config = load(ROOT / "config.toml", {})

    assert [upstream.is_mock for upstream in config.upstreams.values()] == [True]
    assert config.upstreams["mock"].name == "mock"
    assert config.journal.path == ROOT / "gateway.db"


def test_the_examples_in_the_config_of_the_repository_work(write):
    """Commented out, they would otherwise rot."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    real = text[text.index("# [upstreams.openai]") :].replace("\n# ", "\n").removeprefix("# ")

    config = load(write(real.replace("\n#\n", "\n")), {**ENVIRON, "ANTHROPIC_API_KEY": "sk-ant"})

    assert list(config.upstreams) == ["openai", "anthropic"]


def test_upstreams_keep_the_order_of_the_file(write):
    """Models are tried against them in that order."""
    names = ["zeta", "alpha", "mid-1", "0_0"]
    text = "\n".join(f'[upstreams.{name}]\nbase_url = "mock:"' for name in names)

    assert list(load(write(text), {}).upstreams) == names


def test_paths_start_at_the_directory_of_the_config(write, tmp_path, monkeypatch):
    path = write(
        '[journal]\npath = "data/calls.db"\n'
        '[server]\ntls_certificate = "c.pem"\ntls_key = "/etc/k.pem"' + MINIMAL
    )
    config = load(path, {})

    assert config.journal.path == tmp_path / "data/calls.db"
    assert config.server.tls_certificate == tmp_path / "c.pem"
    assert config.server.tls_key == Path("/etc/k.pem")

    monkeypatch.chdir(tmp_path)
    assert load(Path("config.toml"), {}).journal.path == tmp_path / "data/calls.db"


def test_a_config_cannot_be_changed(write):
    config = load(write(MINIMAL), {})

    with pytest.raises(ValidationError):
        config.server.port = 1


@pytest.mark.parametrize(
    ("model", "served"),
    [("gpt-4o-mini", True), ("o1", True), ("GPT-4o", False), ("my-gpt-4o", False), ("", False)],
)
def test_models_are_matched_by_globs_in_whole_and_by_case(model, served):
    upstream = Upstream(name="openai", base_url="mock:", models=("gpt-*", "o*"))

    assert upstream.serves(model) is served


def test_the_command_line_wins_over_the_file(write):
    config = load(write("[server]\nport = 9000" + MINIMAL), {}, host="::1", port=0)

    assert (config.server.host, config.server.port) == ("::1", 0)


def test_the_command_line_cannot_open_the_gateway_to_the_network_either(write):
    with pytest.raises(ConfigError, match=r"server\.host: only a loopback address"):
        load(write(MINIMAL), {}, host="0.0.0.0")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("HTTP://127.0.0.1:9100//", "http://127.0.0.1:9100"),
        ("http://[::1]:80/a%2Fb", "http://[::1]:80/a%2Fb"),
        ("http://model_server:8000", "http://model_server:8000"),
        ("mock:", "mock:"),
    ],
)
def test_a_base_url_ends_where_a_path_can_follow(written, kept):
    assert Upstream(name="any", base_url=written).base_url == kept


def test_hosts_and_origins_are_kept_as_browsers_send_them(write):
    config = load(
        write(
            '[server]\nallowed_hosts = ["Gateway.Example.COM", "[::1]"]\n'
            'allowed_origins = ["HTTPS://App.example.com:443", "http://localhost:3000"]' + MINIMAL
        ),
        {},
    )

    assert config.server.allowed_hosts == ("gateway.example.com", "::1")
    assert config.server.allowed_origins == ("https://app.example.com", "http://localhost:3000")


# References


def test_references_are_replaced_in_whole_strings_and_within(write, tmp_path):
    (tmp_path / "key").write_text("sk-from-a-file\r\n", encoding="utf-8")
    config = load(
        write(
            '[upstreams.any]\nbase_url = "https://${HOST}:${PORT}/v1"\n'
            'api_key = "${file:key}"\nmodels = ["${FAMILY}-*", "$5", "$$", "$${FAMILY}"]'
        ),
        {"HOST": "api.example.com", "PORT": "8443", "FAMILY": "gpt"},
    )

    upstream = config.upstreams["any"]
    assert upstream.base_url == "https://api.example.com:8443/v1"
    assert upstream.api_key == SecretStr("sk-from-a-file")
    assert upstream.models == ("gpt-*", "$5", "$$", "${FAMILY}")


def test_what_a_reference_stands_for_is_not_looked_at_again(write):
    config = load(write(MINIMAL + 'api_key = "${KEY}"'), {"KEY": "a${OTHER}b"})

    assert config.upstreams["openai"].api_key == SecretStr("a${OTHER}b")


def test_a_number_may_come_through_a_reference_but_not_as_text(write, problems):
    text = '[server]\nport = "${PORT}"\ndrain_s = "${DRAIN}"\n[auth]\nrequired = "${AUTH}"'
    config = load(write(text + MINIMAL), {"PORT": "9000", "DRAIN": "0.5", "AUTH": "true"})

    assert (config.server.port, config.server.drain_s, config.auth.required) == (9000, 0.5, True)
    assert problems('[server]\nport = "9000"' + MINIMAL) == ["server.port: must be a whole number"]
    assert problems(text + MINIMAL, {"PORT": "80a", "DRAIN": "NaN", "AUTH": "yes"}) == [
        "server.port: must be a whole number",
        "server.drain_s: must be a finite number",
        "auth.required: must be true or false",
    ]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("${NOT_THERE}", "${NOT_THERE} is not set in the environment"),
        ("Bearer ${NOT_THERE}", "${NOT_THERE} is not set in the environment"),
        ("${}", "${} is neither ${NAME} nor ${file:PATH}"),
        ("${HOME:-x}", "${HOME:-x} is neither ${NAME} nor ${file:PATH}"),
        ("${NOT_THERE", "${ without its }; write $${ for the characters themselves"),
        ("${file:/not/there}", "${file:/not/there}: No such file or directory"),
        ("${file:/}", "${file:/}: Is a directory"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named_with_its_key(problems, reference, reason):
    told = problems(MINIMAL + f'api_key = "{reference}"', {"HOME": "/root"})

    assert told == [f"upstreams.openai.api_key: {reason}"]


def test_an_empty_credential_is_not_taken_for_none(problems):
    told = problems(MINIMAL + 'api_key = "${KEY}"', {"KEY": ""})

    assert told == [
        "upstreams.openai.api_key: is empty; leave the key out to pass the client's own "
        "credential through"
    ]


# What is refused


def test_all_problems_are_told_at_once_a_line_each(problems):
    told = problems(
        """
        [server]
        prot = 8080
        drain_s = -1
        host = "0.0.0.0"

        [journal]
        path = "${DATA}/gateway.db"
        keep_bodies_days = inf

        [upstreams.openai]
        api_key = "${OPENAI_API_KEY}"
        on_disconnect = "stop"

        [upstreams.openai.timeouts]
        conect_s = 5

        [upstreams.v1]
        base_url = "mock:"
        """
    )

    assert told == [
        "journal.path: ${DATA} is not set in the environment",
        "upstreams.openai.api_key: ${OPENAI_API_KEY} is not set in the environment",
        "server.drain_s: must be greater than or equal to 0",
        "server.prot: unknown key; did you mean port?",
        "journal.keep_bodies_days: must be a finite number",
        "upstreams.openai.base_url: is needed",
        "upstreams.openai.on_disconnect: must be 'finish' or 'cancel'",
        "upstreams.openai.timeouts.conect_s: unknown key; did you mean connect_s?",
        "upstreams.v1: this name is taken by the paths of the APIs themselves",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limit = 1", "limit: unknown key; did you mean limits?"),
        ("[limits]\nmax_quued = 1", "limits.max_quued: unknown key; did you mean max_queued?"),
        ("[server]\ndurability = 1",
         "server.durability: unknown key; did you mean journal.durability?"),
        ("[upstreams.openai]\nconnect_s = 1",
         "upstreams.openai.connect_s: unknown key; did you mean timeouts.connect_s?"),
        ("[auth]\nqqqq = 1", "auth.qqqq: unknown key; known here: required"),
        ('"a b\\n" = 1', '"a b\\n": unknown key; '),
        ('path = "x"', "path: unknown key; did you mean journal.path?"),
        ('[upstreams.openai]\nname = "x"',
         "upstreams.openai.name: unknown key; the name of an upstream is that of its table"),
    ],
)  # fmt: skip
def test_an_unknown_key_points_to_the_one_that_was_meant(problems, text, problem):
    if "[upstreams.openai]" in text:
        text += '\nbase_url = "mock:"'
    else:
        text += MINIMAL

    (told,) = problems(text)

    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("table", "line", "problem"),
    [
        ("server", "port = 65536", "port: must be less than or equal to 65535"),
        ("server", "port = -1", "port: must be greater than or equal to 0"),
        ("server", "port = true", "port: must be a whole number"),
        ("server", "port = 80.5", "port: must be a whole number"),
        ("server", "max_body_bytes = 0", "max_body_bytes: must be greater than or equal to 1"),
        ("server", 'drain_s = "30"', "drain_s: must be a number"),
        ("server", 'host = ""', "host: must be a host name or an IP address"),
        ("server", 'host = "localhost:80"', "host: must be a host name or an IP address"),
        ("server", 'allowed_hosts = "a"', "allowed_hosts: must be a list"),
        ("server", 'allowed_hosts = ["*"]', 'allowed_hosts: no "*", unless [auth] required'),
        ("server", 'allowed_hosts = ["a", "b:1"]', "allowed_hosts[1]: must be a host name"),
        ("server", 'allowed_origins = ["*"]', "allowed_origins[0]: must be a web origin"),
        ("server", 'allowed_origins = ["https://a/"]', "allowed_origins[0]: must be a web origin"),
        ("journal", 'path = ""', "path: must be the path of a file"),
        ("journal", "path = 1", "path: must be the path of a file"),
        ("journal", 'durability = "none"', "durability: must be 'power-loss' or 'process'"),
        ("journal", "keep_calls_days = -1", "keep_calls_days: must be greater"),
        ("limits", "max_in_flight = 0", "max_in_flight: must be greater than or equal to 1"),
        ("limits", "max_queued = -1", "max_queued: must be greater than or equal to 0"),
        ("limits", "max_queued_bytes = -1", "max_queued_bytes: must be greater than or equal"),
        ("limits", "queue_timeout_s = nan", "queue_timeout_s: must be a finite number"),
        ("limits", "queue_timeout_s = 1e9", "queue_timeout_s: must be less than or equal"),
        ("webhooks", 'secret = "hunter22"', "secret: must be whsec_ followed by base64"),
        ("webhooks", 'secret = "whsec_"', "secret: must be whsec_ followed by base64"),
        ("webhooks", 'secret = "whsec_%"', "secret: must be whsec_ followed by base64"),
        ("server", 'trusted_proxies = ["::1", "10.1.0.0/8"]', "trusted_proxies[1]: must be an IP"),
        ("server", 'trusted_proxies = ["proxy"]', "trusted_proxies[0]: must be an IP address or"),
        ("server", 'trusted_proxies = ["0.0.0.0/0"]', "trusted_proxies[0]: is everybody; name"),
        ("server", "trusted_proxies = [7]", "trusted_proxies[0]: must be an IP address or"),
        ("webhooks", 'previous_secret = "whsec_YWI="', "previous_secret: signs nothing alone"),
        ("webhooks.secrets", 'a = "whsec_%"', "a: must be whsec_ followed by base64"),
        ("webhooks.secrets", '"a.b" = "x"', '"a.b": must be whsec_ followed by base64'),
        ("webhooks.secrets", 'a.b = "whsec_YWI="', "a: must be a string"),
        ("webhooks.secrets", 'A = "whsec_YWI="', "A: must be in lower case, an address in its"),
        ("webhooks.secrets", '"[::1]" = "whsec_YWI="', '"[::1]": must be in lower case, an'),
        ("webhooks.secrets", '"a:1" = "whsec_YWI="', '"a:1": must be a host name or an IP'),
        ("webhooks", 'allowed_hosts = ["*"]', "allowed_hosts[0]: must be a host name"),
        ("auth", 'required = "yes"', "required: must be true or false"),
        ("upstreams.a", "max_in_flight = 0", "max_in_flight: must be greater than or equal to 1"),
        ("upstreams.a", 'auth = "basic"', "auth: must be 'bearer', 'x-api-key', 'api-key' or"),
        ("upstreams.a", 'dialect = "cohere"', "dialect: must be 'openai', 'anthropic' or 'gemini'"),
        ("upstreams.a", 'api_key = "two words"', "api_key: holds a space, line break or other"),
        ("upstreams.a", 'api_key = "line\\n"', "api_key: holds a space, line break or other"),
        ("upstreams.a", "api_key = 1", "api_key: must be a string"),
        ("upstreams.a", 'models = "gpt-4"', "models: must be a list"),
        ("upstreams.a", 'models = [""]', "models[0]: must not be empty"),
        ("upstreams.a", 'allowed_paths = ["chat/*"]', "allowed_paths[0]: must begin with / or *"),
        ("upstreams.a", 'allowed_headers = ["a", "*b"]', "allowed_headers[1]: must be the name of"),
        ("upstreams.a", 'allowed_headers = ["a*b"]', "allowed_headers[0]: must be the name of"),
        ("upstreams.a", 'allowed_headers = ["a: b"]', "allowed_headers[0]: must be the name of"),
        ("upstreams.a", 'on_interrupted = "wait"', "on_interrupted: must be 'retry' or 'fail'"),
        ("upstreams.a", "stream_ping_s = -1", "stream_ping_s: must be greater"),
        ("upstreams.a", "timeouts = 3", "timeouts: must be a table"),
        ("upstreams.a.timeouts", "total_s = 0", "total_s: must be greater than 0"),
        ("upstreams.a.timeouts", "idle_s = -0.1", "idle_s: must be greater than 0"),
        ("upstreams.a.retry", "max_attempts = 0", "max_attempts: must be greater than or equal"),
        ("upstreams.a.retry", "backoff_s = -1", "backoff_s: must be greater than or equal to 0"),
        ("upstreams.a.retry", "budget = 1.1", "budget: must be less than or equal to 1"),
        ("upstreams.a.retry", "budget = -0.1", "budget: must be greater than or equal to 0"),
        ("upstreams.a", 'adaptive = "yes"', "adaptive: must be true or false"),
        ("upstreams.a.breaker", "failure_share = 0", "failure_share: must be greater than 0"),
        ("upstreams.a.breaker", "probes = 0", "probes: must be greater than or equal to 1"),
        ("upstreams.a.retry", "statuses = [200]", "statuses[0]: must be greater than or equal"),
        ("upstreams.a.retry", "statuses = [600]", "statuses[0]: must be less than or equal to 599"),
        ("upstreams.a.retry", 'statuses = ["503"]', "statuses[0]: must be a whole number"),
        ("upstreams.a.mock", "latency_s = -1", "latency_s: must be greater than or equal to 0"),
        ("upstreams.a.mock", "jitter = 1.5", "jitter: must be less than or equal to 1"),
        ("upstreams.a.mock", "failure_rate = 2", "failure_rate: must be less than or equal to 1"),
        ("upstreams.a.mock", 'failures = ["teapot"]', "failures[0]: must be '500', '503',"),
        ("upstreams.a.mock", "tokens = -1", "tokens: must be greater than or equal to 0"),
    ],
)
def test_a_value_that_cannot_mean_anything_is_refused(problems, table, line, problem):
    (told,) = problems(f'[upstreams]\na.base_url = "mock:"\n{_table(table, line)}')

    assert told.startswith(f"{table}.{problem}")


def test_a_breakers_longest_pause_is_not_shorter_than_its_first(problems):
    told = problems('[upstreams]\na.base_url = "mock:"\na.breaker.pause_s = 90')

    assert told == ["upstreams.a.breaker: pause_max_s must not be less than pause_s"]


def _table(name: str, line: str) -> str:
    """Dotted keys, since TOML opens a table once."""
    if name.startswith("upstreams."):
        return f"{name.removeprefix('upstreams.')}.{line}"
    return f"[{name}]\n{line}"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.openai.com",
        "//api.openai.com",
        "ftp://api.openai.com",
        "https://",
        "https:///v1",
        "https://user@example.com",
        "https://user:hunter22@example.com",
        "https://:@example.com",
        "https://example.com/v1?key=hunter22",
        "https://example.com/v1?",
        "https://example.com/v1#top",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:port",
        "https://[::1",
        "https://exa mple.com",
        "https://bücher.example",
        "https://example.com\\@elsewhere.com",
        "https://example.com/a/../b",
        "https://example.com/a/%2E%2e",
        "https://example.com\n",
        "mock:x",
        "mock://x",
    ],
)
def test_a_base_url_is_a_plain_url_or_mock(problems, base_url):
    (told,) = problems(f"[upstreams.any]\nbase_url = {json.dumps(base_url)}")

    assert told.startswith("upstreams.any.base_url: must ")
    assert "hunter22" not in told


@pytest.mark.parametrize("name", ["v1", "v1beta", "OpenAI", "-a", "_a", "a.b", "a/b", "é", ""])
def test_a_name_that_could_not_stand_in_a_path_is_refused(problems, name):
    (told,) = problems(f'[upstreams.{json.dumps(name)}]\nbase_url = "mock:"')

    assert told.startswith("upstreams.")


@pytest.mark.parametrize("text", ["", "[upstreams]", "[server]\nport = 1"])
def test_one_upstream_is_needed(problems, text):
    assert problems(text) == ["upstreams: at least one [upstreams.NAME] with a base_url is needed"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "gateway.example.com", "0"])
def test_the_network_is_let_in_only_with_keys(write, problems, host):
    text = f'[server]\nhost = "{host}"\n' + MINIMAL

    assert problems(text) == ["server.host: only a loopback address, unless [auth] required = true"]
    assert load(write(text + "[auth]\nrequired = true"), {}).server.host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback_needs_no_keys(write, host):
    load(write(f'[server]\nhost = "{host}"\n' + MINIMAL), {})


def test_a_certificate_without_its_key_is_refused(problems):
    assert problems('[server]\ntls_key = "k.pem"' + MINIMAL) == [
        "server: tls_certificate and tls_key go together: set both or none"
    ]


def test_a_missing_file_says_how_to_make_one(tmp_path):
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError) as refusal:
        load(path, {})

    assert refusal.value.problems == [
        f"{path}: no such file; the least it needs is two lines: [upstreams.mock] and "
        'base_url = "mock:"'
    ]
    path.write_text('[upstreams.mock]\nbase_url = "mock:"', encoding="utf-8")
    load(path, {})


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[server]\nport = \n", "is not TOML: Invalid value (at line 2, column 8)"),
        (b"[server]\n[server]\n", "is not TOML: Cannot declare ('server',) twice (at line 2, "),
        (b"a = 1" + b"0" * 5_000, "is not TOML: "),
        (b"a = '\xff'", "is not UTF-8 (byte 5)"),
    ],
)
def test_a_broken_file_says_where(tmp_path, content, problem):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        load(path, {})

    (line,) = refusal.value.problems
    assert line.startswith(f"{path}: {problem}")


# The journal's path alone


def test_the_journal_is_found_whatever_else_is_wrong(write, tmp_path):
    path = write(
        '[journal]\npath = "${DATA}.db"\ndurability = "?"\n'
        '[server]\nprot = 1\n[upstreams.x]\napi_key = "${NOT_SET}"'
    )

    assert load_journal_path(path, {"DATA": "calls"}) == tmp_path / "calls.db"
    assert load_journal_path(write(""), {}) == tmp_path / "gateway.db"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("journal = 1", "journal: must be a table"),
        ("[journal]\npath = 1", "journal.path: must be the path of a file"),
        ('[journal]\npath = "${DATA}"', "journal.path: ${DATA} is not set in the environment"),
        ("[journal", "is not TOML"),
    ],
)
def test_a_journal_path_that_cannot_be_known_is_told(write, text, problem):
    path = write(text)
    with pytest.raises(ConfigError) as refusal:
        load_journal_path(path, {})

    (line,) = refusal.value.problems
    assert line.startswith(f"{path}: {problem}")


# Reload


def test_a_reload_refuses_what_only_a_restart_can_change(write):
    old = load(write(MINIMAL), {})
    new = load(
        write(
            '[server]\nhost = "::1"\nport = 9000\ndrain_s = 1\n'
            '[journal]\npath = "other.db"\ndurability = "process"\nkeep_calls_days = 1' + MINIMAL
        ),
        {},
    )

    told = reload_refusals(old, new)

    assert [line.partition(":")[0] for line in told] == [
        "server.host",
        "server.port",
        "journal.path",
        "journal.durability",
    ]
    assert told[1] == "server.port: a change needs a restart (from 8080 to 9000)"
    assert reload_refusals(old, load(write(MINIMAL + "max_in_flight = 7"), {})) == []


# What is shown


def test_what_is_shown_is_the_config_in_force(write):
    """The TOML reads back as the same values, less what is not set."""
    config = load(write(EVERYTHING_AT_ITS_DEFAULT), ENVIRON)
    shown = masked(config)

    assert json.loads(json.dumps(shown)) == shown
    assert tomllib.loads(as_toml(config)) == _without_nulls(shown)
    known = {key.replace(".openai.", ".NAME.") for key in _keys_of(shown)}
    assert set(config_keys()) == known | {"webhooks.secrets.HOST"}
    assert shown["upstreams"]["openai"]["retry"]["statuses"] == sorted(Retry().statuses)
    assert "drain_s = 30\n" in as_toml(config)


def _without_nulls(table: dict) -> dict:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def test_a_long_secret_can_be_recognised_and_a_short_one_cannot(write):
    def shown(secret: str) -> object:
        config = load(write(MINIMAL + 'api_key = "${KEY}"'), {"KEY": secret})
        return masked(config)["upstreams"]["openai"]["api_key"]

    assert shown("elevenchars") == "[set]"
    assert shown("twelve-chars") == "[set, ends in hars, sha256 8dd1fe39]"


@given(secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=5))
def test_no_secret_is_ever_shown(secret):
    """Neither printed, nor in what a debugger or a log would see of it."""
    assume(secret not in _all_shown(_with_secret("another")))

    assert secret not in _all_shown(_with_secret(secret))


def _with_secret(secret: str) -> Config:
    return Config(upstreams={"any": {"base_url": "mock:", "api_key": secret}})


def _all_shown(config: Config) -> str:
    dumped = (config.model_dump(), config.model_dump_json())
    return f"{masked(config)} {as_toml(config)} {config!r} {config} {dumped}"


MISPLACED = [
    "journal.durability",
    "server.allowed_origins",
    "server.host",
    "server.port",
    "upstreams.a.api_key",
    "upstreams.a.base_url",
    "upstreams.a.retry.budget",
    "webhooks.secret",
    "webhooks.secrets.a",
]


@given(
    secret=st.text(st.characters(exclude_categories=["Cs"]), min_size=5),
    key=st.sampled_from(MISPLACED),
)
def test_no_refusal_repeats_a_value(tmp_path_factory, secret, key):
    """A secret may stand under the wrong key, or be wrong itself."""
    path = tmp_path_factory.getbasetemp() / "refused.toml"
    path.write_text(f'unknown = 1\nupstreams.b.base_url = ""\n{key} = "${{X}}"', encoding="utf-8")

    def told(value: str) -> str:
        with pytest.raises(ConfigError) as refusal:
            load(path, {"X": value})
        assert refusal.value.__context__ is None
        return refusal.value.message

    assume(secret not in told("?"))

    assert secret not in told(secret)
