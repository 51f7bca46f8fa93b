"""Where a webhook may be sent: URLs when a call asks for one, addresses when a connection is made.

Both are pure. A URL is parsed once, by the library that connects to it; what the check saw is what
is connected to. A public name may still resolve to anything, so every address that a connection is
about to be made to is looked up here as well.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import TypeAlias

from yarl import URL

from gateway.errors import BadRequest

MAX_URL = 2048  # characters
PORTS = frozenset({443, 80, 8443})

_SHAPE = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(:[0-9]{1,5})?"
    r"([/?][\x21\x22\x24-\x5b\x5d-\x7e]*)?\Z",
    re.IGNORECASE,
)
#: A host that ends like this is read as an IPv4 address by resolvers, in whatever spelling.
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")
_NOT_PUBLIC = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# `ipaddress.is_global` will not do: multicast counts as global, and before Python 3.13 so do
# addresses inside 2002::/16 and 64:ff9b::/96.
_REFUSED_4 = [
    (ipaddress.IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared with a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own service"),  # Azure's agent answers here, in every VM
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")  # all that was ever given out
_REFUSED_6 = [
    (ipaddress.IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "a local translation to IPv4"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a 6to4 tunnel"),
        ("3fff::/20", "for documentation"),
    )
]
#: An IPv4 address stands in the last 32 bits, and that is where the connection ends.
_TRANSLATED = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


def why_refused(address: str) -> str | None:
    """Why nothing is sent to the IP *address*; None where it is a public one."""
    ip = _address(address.partition("%")[0])
    if ip is None:
        return "no IP address"
    if isinstance(ip, ipaddress.IPv6Address):
        if not any(ip in network for network in _TRANSLATED):
            for network, why in _REFUSED_6:
                if ip in network:
                    return why
            return None if ip in _GLOBAL_6 else "reserved"
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return next((why for network, why in _REFUSED_4 if ip in network), None)


def read_url(text: str, allowed_hosts: Collection[str]) -> tuple[URL, bool]:
    """The URL of a webhook, and whether its host is one of *allowed_hosts*: these may be anywhere.

    Raises: BadRequest
    """
    shape = _SHAPE.match(text)
    if shape is None or len(text) > MAX_URL:
        raise _wrong("must look like https://host/path, without user, password and fragment")
    try:
        url = URL(text, encoded=True)
        host = (url.raw_host or "").lower()
    except ValueError:
        raise _wrong("must have a valid host and port") from None
    if not url.port or host != shape["host"].strip("[]").lower():
        raise _wrong("must have a valid host and port")
    name = host.rstrip(".")
    literal = _address(name)
    if host_of(url) in allowed_hosts:
        return url, True
    if url.scheme != "https" or url.port not in PORTS:
        raise _wrong("must be https, on port 443, 80 or 8443")
    if why := _why_not_public(name, literal):
        raise _wrong(why)
    return url, False


def host_of(url: URL) -> str:
    """The host of *url* as the configuration names it."""
    name = (url.raw_host or "").lower().rstrip(".")
    literal = _address(name)
    return str(literal) if literal else name


def _why_not_public(name: str, literal: _Address | None) -> str | None:
    """What is wrong with a host that must be public, as far as its name tells."""
    if literal is not None:
        why = why_refused(name)
        return why and f"names an address that is {why}"
    if _NUMBER.match(name.rpartition(".")[2]):
        return "names an address in an odd spelling"
    if "." not in name or name.endswith(_NOT_PUBLIC):
        return "must name a public host"
    return None


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"x-gateway-webhook {why}; see [webhooks] allowed_hosts")
