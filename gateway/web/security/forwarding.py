"""Whose request it is when a proxy passes it on, and whether that client came by TLS.

Invariant: a forwarding field counts only where the peer of the connection is one of [server]
trusted_proxies, and of it only what such a proxy wrote: everything further left in
`X-Forwarded-For` may be the client's own invention. This is the one place that names a client's
address. `Forwarded` (RFC 7239) is not read: a proxy that does not write it passes on a client's.
"""

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

from aiohttp.web_request import BaseRequest

from gateway import config
from gateway.call import Headers

MOST_HOPS = 32  # entries that are looked at: a head has room for 100,000 and each costs 10 µs
KNOWN = 4096  # addresses whose reading is remembered: the same proxies and clients come all day

#: An address, perhaps with a port; an IPv6 address with one stands in brackets. No zone: that is any
#: text at all, and means nothing on another machine.
_ENTRY = re.compile(
    r"\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?"
    r"|(?P<v4>[0-9.]{7,15})(?::[0-9]{1,5})?"
    r"|(?P<v6>[0-9A-Fa-f:.]{2,45})"
)

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(request: BaseRequest, server: config.Server) -> str:
    """The address of whoever sent *request*: the peer, or whom trusted proxies say they speak for.

    That is the rightmost address that is no trusted proxy. Where something else than an address
    stands before it, the proxy that passed that on; "" for a peer without an address.
    """
    peer = request.remote or ""
    if not is_trusted(peer, server):
        return peer
    address = peer
    for entry in _entries(request.raw_headers, b"x-forwarded-for", MOST_HOPS):
        forwarded = _address(entry)
        if forwarded is None:
            break
        address = str(forwarded)
        if not _is_within(forwarded, server):
            break
    return address


def came_by_tls(request: BaseRequest, server: config.Server) -> bool:
    """Whether the client speaks TLS, to us or to a trusted proxy that says so.

    What the request line says of a scheme is the client's word alone and does not count.
    """
    if server.tls_certificate is not None:
        return True
    if not is_trusted(request.remote or "", server):
        return False
    return next(_entries(request.raw_headers, b"x-forwarded-proto", 1), "").lower() == "https"


def is_trusted(peer: str, server: config.Server) -> bool:
    """Whether *peer*, as a socket names it, is one of the trusted proxies."""
    if not server.trusted_proxies:
        return False
    address = _address(peer.partition("%")[0])
    return address is not None and _is_within(address, server)


def _is_within(address: _Address, server: config.Server) -> bool:
    return _is_one_of(address, server.trusted_proxies)


@lru_cache(maxsize=KNOWN)
def _is_one_of(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks)


def _entries(raw: Headers, wanted: bytes, most: int) -> Iterator[str]:
    """The entries of a list field, which may stand in several lines, from the right."""
    lines = b",".join(value for name, value in raw if name.lower() == wanted)
    for entry in reversed(lines.rsplit(b",", most)[-most:]):
        yield entry.decode("latin-1").strip(" \t")


@lru_cache(maxsize=KNOWN)
def _address(text: str) -> _Address | None:
    """The address in *text*, IPv4 inside IPv6 (as dual-stack sockets name it) taken out; or None."""
    match = _ENTRY.fullmatch(text)
    if match is None:
        return None
    try:
        address = ipaddress.ip_address(match["bracketed"] or match["v4"] or match["v6"])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
