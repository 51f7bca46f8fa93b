"""What a key of config.toml may hold: the types of `models`, each with its bounds.

A value that cannot mean anything is refused here, so that no other room checks it again. Reasons
never repeat the value: it may be a secret in the wrong place.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

RECOGNISABLE = 12  # characters: of a shorter secret the last four would be too much of it
YEAR_S = 31_536_000  # whoever means longer means for ever
MAX_BYTES = 1 << 40  # far above any RAM: a slip of the keyboard, not a bound to tune
MAX_CALLS = 10_000_000  # a queue of ids alone is 10 GB then

RESERVED_NAMES = frozenset({"v1", "v1beta"})  # paths that the APIs themselves begin with

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+\*?")  # RFC 9110 §5.6.2, without its *
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def wrong(reason: str, *, key: str | None = None) -> PydanticCustomError:
    """The error for a value refused for *reason*; *key* names another one that is to blame."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "key": key})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _upstream_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise wrong("a name is made of a-z, 0-9, _ and -, and begins with a letter or digit")
    if name in RESERVED_NAMES:
        raise wrong("this name is taken by the paths of the APIs themselves")
    return name


def _host(host: str) -> str:
    """An address in its shortest form, or a name in lower case."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if len(host) > 253 or not _HOST_NAME.fullmatch(host.lower()):  # 253: RFC 1035 §2.3.4 as text
        raise wrong("must be a host name or an IP address, without scheme, port or path")
    return host.lower()


def _exact_host(host: str) -> str:
    """One whose spelling is its only one: a table has it once, and it is found as it stands."""
    if _host(host) != host:
        raise wrong("must be in lower case, an address in its shortest form and without brackets")
    return host


def _host_or_all(host: str) -> str:
    return host if host == "*" else _host(host)


def _network(network: object) -> object:
    """Addresses whose word is taken: one, or all of a network."""
    if isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return network
    try:
        parsed = ipaddress.ip_network(network if isinstance(network, str) else "")
    except ValueError:
        raise wrong("must be an IP address or a network like 10.0.0.0/8") from None
    if parsed.prefixlen == 0:
        raise wrong("is everybody; name the addresses of your proxies")
    return parsed


def _path_glob(glob: str) -> str:
    if not glob.startswith(("/", "*")):
        raise wrong("must begin with / or *: it is the path as it follows base_url")
    return glob


def _field_name(name: str) -> str:
    """In lower case; a `*` at its end stands for any rest."""
    if not _FIELD_NAME.fullmatch(name):
        raise wrong("must be the name of a header field, perhaps with one * at its end")
    return name.lower()


def _origin(origin: str) -> str:
    """As browsers write it (RFC 6454 §6.2): lower case, without the scheme's own port."""
    match = _ORIGIN.fullmatch(origin.lower())
    if not match:
        raise wrong("must be a web origin like https://app.example.com, without path")
    scheme, host, port = match["scheme"], match["host"], match["port"]
    return f"{scheme}://{host}" + (
        f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else ""
    )


def _base_url(url: str) -> str:
    """Without trailing slash, so that a path can be put after it."""
    if url == "mock:":
        return url
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise wrong("must be a URL in ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong("must be a URL with a valid host and port") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise wrong('must be an http:// or https:// URL with a host, or exactly "mock:"')
    if "@" in parts.netloc:
        raise wrong("must hold no user or password; the credential goes into api_key")
    if "?" in url or "#" in url:
        raise wrong("must have no query and no fragment")
    if any(
        re.fullmatch(r"(\.|%2e){1,2}", segment, re.IGNORECASE) for segment in parts.path.split("/")
    ):
        raise wrong("must have no . or .. in its path")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _credential(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value:
        raise wrong("is empty; leave the key out to pass the client's own credential through")
    if not _VISIBLE.fullmatch(value):
        raise wrong("holds a space, line break or other character that no credential can have")
    return secret


def _webhook_secret(secret: SecretStr) -> SecretStr:
    """As Standard Webhooks writes it: the bytes of the HMAC key in base64."""
    prefix, _, encoded = secret.get_secret_value().partition("whsec_")
    try:
        usable = not prefix and bool(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        usable = False
    if not usable:
        raise wrong("must be whsec_ followed by base64")
    return secret


def _present(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise wrong("must be the path of a file")
    return value


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    """Relative to the config file, whose directory the loader hands in."""
    directory: Path = (info.context or {}).get("directory", Path())
    return directory / path


def _short(number: float) -> int | float:
    """30, as the file says it, not 30.0."""
    return int(number) if number.is_integer() else number


def _mask(secret: SecretStr) -> str:
    """Enough to tell which of several secrets is in force, too little to use it."""
    value = secret.get_secret_value()
    if len(value) < RECOGNISABLE:
        return "[set]"
    digest = hashlib.sha256(value.encode()).hexdigest()
    return f"[set, ends in {value[-4:]}, sha256 {digest[:8]}]"


# How values read in JSON, the one form in which a configuration is shown.
_Short = PlainSerializer(_short, when_used="json")
_Masked = PlainSerializer(_mask, when_used="json")
_Sorted = PlainSerializer(sorted, when_used="json")

Share = Annotated[float, Field(ge=0, le=1), _Short]
Seconds = Annotated[float, Field(ge=0, le=YEAR_S), _Short]
PositiveSeconds = Annotated[float, Field(gt=0, le=YEAR_S), _Short]
Days = Annotated[float, Field(ge=0, le=36_500), _Short]  # parts of a day too
Port = Annotated[int, Field(ge=0, le=65_535)]  # 0: any free one
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
PositiveBytes = Annotated[int, Field(ge=1, le=MAX_BYTES)]
Places = Annotated[int, Field(ge=0, le=MAX_CALLS)]
Slots = Annotated[int, Field(ge=1, le=1_000_000)]
ErrorStatus = Annotated[int, Field(ge=400, le=599)]

Glob = Annotated[str, Field(min_length=1)]
PathGlob = Annotated[str, AfterValidator(_path_glob)]
FieldName = Annotated[str, AfterValidator(_field_name)]
UpstreamName = Annotated[str, AfterValidator(_upstream_name)]
Host = Annotated[str, AfterValidator(_host)]
ExactHost = Annotated[str, AfterValidator(_exact_host)]
HostOrAll = Annotated[str, AfterValidator(_host_or_all)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
Origin = Annotated[str, AfterValidator(_origin)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Credential = Annotated[SecretStr, AfterValidator(_credential), _Masked]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret), _Masked]
# TOML has neither paths nor tuples nor sets: these are made from its strings and lists.
FilePath = Annotated[
    Path, Field(strict=False), BeforeValidator(_present), AfterValidator(_beside_config)
]
Hosts = Annotated[tuple[Host, ...], Field(strict=False)]
HostsOrAll = Annotated[tuple[HostOrAll, ...], Field(strict=False)]
Networks = Annotated[tuple[Network, ...], Field(strict=False)]
Origins = Annotated[tuple[Origin, ...], Field(strict=False)]
PathGlobs = Annotated[tuple[PathGlob, ...], Field(strict=False)]
FieldNames = Annotated[tuple[FieldName, ...], Field(strict=False)]
Globs = Annotated[tuple[Glob, ...], Field(strict=False)]
MockFailure = Literal["500", "503", "429", "reset", "hang", "cut"]
MockFailures = Annotated[tuple[MockFailure, ...], Field(strict=False)]
ErrorStatuses = Annotated[frozenset[ErrorStatus], Field(strict=False), _Sorted]
