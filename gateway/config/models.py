"""The keys of config.toml, their defaults and what they mean together.

One class a table. Everything is frozen, unknown keys are refused, text is no number (unless it came
through a reference), and the unit stands in the name. README's "Config reference" lists
`config_keys()`; a test holds the two together.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from gateway.config.references import Referenced
from gateway.config.values import (
    BaseUrl,
    Bytes,
    Credential,
    Days,
    ErrorStatuses,
    ExactHost,
    FieldNames,
    FilePath,
    Globs,
    Host,
    Hosts,
    HostsOrAll,
    MockFailures,
    Networks,
    Origins,
    PathGlobs,
    Places,
    Port,
    PositiveBytes,
    PositiveSeconds,
    Seconds,
    Share,
    Slots,
    UpstreamName,
    WebhookSecret,
    is_loopback,
    wrong,
)


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,  # a default path is relative to the config file too
        hide_input_in_errors=True,  # the input may be a secret
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read_number(cls, value: object, info: ValidationInfo) -> object:
        """Read a number or truth value from text that came through a reference."""
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        if not isinstance(value, Referenced) or kind not in {int, float, bool}:
            return value
        try:
            return from_json(value)
        except ValueError:
            return value  # refused as text


class Server(_Table):
    """[server]: where the gateway listens and what it lets in."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    max_body_bytes: PositiveBytes = 33_554_432
    drain_s: Seconds = 30
    allowed_hosts: HostsOrAll = ()
    allowed_origins: Origins = ()
    trusted_proxies: Networks = ()  #: whose X-Forwarded-For and X-Forwarded-Proto are believed
    tls_certificate: FilePath | None = None
    tls_key: FilePath | None = None

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise wrong("tls_certificate and tls_key go together: set both or none")
        return self


class Journal(_Table):
    """[journal]: where calls are recorded, how safely and for how long. 0 days: for ever."""

    path: FilePath = Path("gateway.db")
    durability: Literal["power-loss", "process"] = "power-loss"
    keep_bodies_days: Days = 30
    keep_calls_days: Days = 365


class Limits(_Table):
    """[limits]: what all upstreams together may hold."""

    max_in_flight: Slots = 1_000
    max_queued: Places = 10_000
    max_queued_detached: Places = 100_000
    max_queued_bytes: Bytes = 268_435_456  #: request bodies that wait in RAM
    max_arriving_bytes: PositiveBytes = 268_435_456  #: request bodies that are on their way in
    queue_timeout_s: Seconds = 300


class Webhooks(_Table):
    """[webhooks]: how receivers recognise us, and which may be inside our own network."""

    secret: WebhookSecret | None = None
    previous_secret: WebhookSecret | None = None  #: signs too, while receivers take over another
    secrets: dict[ExactHost, WebhookSecret] = {}  #: receivers' own, by host
    allowed_hosts: Hosts = ()

    @model_validator(mode="after")
    def _previous_of_something(self) -> Self:
        if self.previous_secret is not None and self.secret is None and not self.secrets:
            reason = "signs nothing alone: set the secret that follows it"
            raise wrong(reason, key="webhooks.previous_secret")
        return self

    def signing(self, host: str) -> tuple[SecretStr, ...]:
        """The secrets that sign what *host* is sent, the one to come to first; none: it is not told."""
        current = self.secrets.get(host, self.secret)
        if current is None:
            return ()
        return (current,) if self.previous_secret is None else (current, self.previous_secret)


class Auth(_Table):
    """[auth]: whether clients need a key of the gateway's."""

    required: bool = False


class Timeouts(_Table):
    """[upstreams.NAME.timeouts]: of one attempt."""

    connect_s: PositiveSeconds = 5
    first_byte_s: PositiveSeconds = 300
    idle_s: PositiveSeconds = 120
    total_s: PositiveSeconds = 900


class Retry(_Table):
    """[upstreams.NAME.retry]: how often and how soon an attempt follows another."""

    max_attempts: int = Field(default=4, ge=1, le=100)
    backoff_s: Seconds = 0.5
    backoff_max_s: Seconds = 30
    budget: Share = 0.2  #: retries in flight, as a share of the upstream's open calls
    statuses: ErrorStatuses = frozenset({408, 429, 500, 502, 503, 504, 529})


class Breaker(_Table):
    """[upstreams.NAME.breaker]: when an upstream that fails is left alone, and how it is tried again."""

    enabled: bool = False
    failure_share: float = Field(default=0.5, gt=0, le=1)
    min_attempts: int = Field(default=20, ge=1, le=1_000_000)
    window_s: PositiveSeconds = 60  #: at least; longer where answers are slow
    pause_s: PositiveSeconds = 10  #: doubling each time it fails again
    pause_max_s: PositiveSeconds = 60
    probes: int = Field(default=3, ge=1, le=1_000)
    ramp_s: PositiveSeconds = 30  #: back to the whole limit

    @model_validator(mode="after")
    def _pauses_in_order(self) -> Self:
        if self.pause_max_s < self.pause_s:
            raise wrong("pause_max_s must not be less than pause_s")
        return self


class Mock(_Table):
    """[upstreams.NAME.mock]: how the simulated API behaves."""

    latency_s: Seconds = 10
    jitter: Share = 0  #: of latency_s, evenly to both sides
    failure_rate: Share = 0
    failures: MockFailures = ("500", "503", "429", "reset", "cut")  #: how
    tokens: int = Field(default=50, ge=0, le=100_000)  #: in an answer


class Upstream(_Table):
    """[upstreams.NAME]: one AI API."""

    name: str = Field(exclude=True)  #: the table's own
    base_url: BaseUrl  #: without trailing slash, or "mock:"
    api_key: Credential | None = None  #: None: the client's own is passed through
    auth: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"] = "bearer"
    dialect: Literal["openai", "anthropic", "gemini"] = "openai"
    models: Globs = ()
    allowed_paths: PathGlobs = ()  #: of what goes out below base_url; empty: every path
    allowed_headers: FieldNames = ()  #: of a client's fields; empty: all that are end to end
    max_in_flight: Slots = 100
    adaptive: bool = False  #: fewer where it refuses, up to that again where it does not
    on_disconnect: Literal["finish", "cancel"] = "finish"
    on_disconnect_stream: Literal["finish", "cancel"] = "cancel"
    stream_ping_s: Seconds = 0  #: 0: none
    on_interrupted: Literal["retry", "fail"] = "retry"
    bodies: Literal["full", "metadata", "none"] = "full"  #: what is kept of its calls
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    mock: Mock = Mock()

    @property
    def is_mock(self) -> bool:
        """The built-in simulated API, which no credential is passed to."""
        return self.base_url == "mock:"

    def serves(self, model: str) -> bool:
        """Whether *model*, as a request names it, comes here on a path without prefix."""
        return any(fnmatchcase(model, glob) for glob in self.models)


class Config(_Table):
    """The whole of config.toml."""

    path: Path = Field(default=Path("config.toml"), exclude=True)  #: the file it was read from
    sources: dict[str, str] = Field(default={}, exclude=True)  #: see `sources`; default: not listed
    server: Server = Server()
    journal: Journal = Journal()
    limits: Limits = Limits()
    webhooks: Webhooks = Webhooks()
    auth: Auth = Auth()
    upstreams: dict[UpstreamName, Upstream] = {}  #: in the file's order

    @field_validator("auth")
    @classmethod
    def _required_beyond_loopback(cls, auth: Auth, info: ValidationInfo) -> Auth:
        server: Server | None = info.data.get("server")  # None: refused itself
        if server is None or auth.required:
            return auth
        if not is_loopback(server.host):
            raise wrong("only a loopback address, unless [auth] required = true", key="server.host")
        if "*" in server.allowed_hosts:
            reason = 'no "*", unless [auth] required = true'
            raise wrong(reason, key="server.allowed_hosts")
        return auth

    @field_validator("upstreams", mode="before")
    @classmethod
    def _named(cls, upstreams: object) -> object:
        """Tell each upstream the name of its table."""
        if not isinstance(upstreams, dict):
            return upstreams
        return {
            name: {**table, "name": name} if isinstance(table, dict) else table
            for name, table in upstreams.items()
        }

    @field_validator("upstreams")
    @classmethod
    def _at_least_one(cls, upstreams: dict[str, Upstream]) -> dict[str, Upstream]:
        if not upstreams:
            raise wrong("at least one [upstreams.NAME] with a base_url is needed")
        return upstreams


def config_keys() -> list[str]:
    """Every key a config.toml may hold, dotted; NAME: an upstream's, HOST: a receiver's."""
    return list(_keys(Config, ""))


def _keys(table: type[BaseModel], prefix: str) -> Iterator[str]:
    for key, field in table.model_fields.items():
        kind = field.annotation
        if field.exclude:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{key}.")
        elif key == "upstreams":
            yield from _keys(get_args(kind)[1], f"{prefix}{key}.NAME.")
        elif key == "secrets":
            yield f"{prefix}{key}.HOST"
        else:
            yield prefix + key


RESTART_KEYS = ("server.host", "server.port", "journal.path", "journal.durability")


def reload_refusals(old: Config, new: Config) -> list[str]:
    """Say which changes from *old* to *new* a running gateway cannot make, a line each."""
    refusals = [
        f"{key}: a change needs a restart (from {read(old)} to {read(new)})"
        for key, read in ((key, attrgetter(key)) for key in RESTART_KEYS)
        if read(old) != read(new)
    ]
    if (old.server.tls_certificate is None) != (new.server.tls_certificate is None):
        refusals.append("server.tls_certificate: to begin or end TLS needs a restart")
    return refusals
