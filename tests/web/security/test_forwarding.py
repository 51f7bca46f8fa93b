"""Whose request it is, behind proxies: S41."""

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.web.security.forwarding import MOST_HOPS, came_by_tls, client_address, is_trusted

PROXIES = ["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"]
SERVER = config.Server(trusted_proxies=PROXIES)  # type: ignore[arg-type] - read from text
PEER = "10.0.0.1"


def request(peer: str | None, **fields: str | list[str]) -> Any:
    """Return as much of a request as counts here."""
    raw = [
        (name.replace("_", "-").encode(), line.encode("latin-1"))
        for name, value in fields.items()
        for line in (value if isinstance(value, list) else [value])
    ]
    return SimpleNamespace(remote=peer, raw_headers=tuple(raw))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("203.0.113.1, 198.51.100.9", "198.51.100.9"),  # the left one is the client's word
        ("198.51.100.9, 10.2.3.4,192.0.2.7", "198.51.100.9"),
        (["203.0.113.1", "198.51.100.9 ,10.2.3.4"], "198.51.100.9"),
        ("10.9.9.9, 10.2.3.4", "10.9.9.9"),  # proxies all the way: the first of them
        ("198.51.100.9:61000", "198.51.100.9"),
        ("2001:DB8:2::0001", "2001:db8:2::1"),
        ("[2001:db8:2::1]", "2001:db8:2::1"),
        ("[2001:db8:2::1]:443, 2001:db8:1::5", "2001:db8:2::1"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("198.51.100.9, ::ffff:10.0.0.2", "198.51.100.9"),
        # what is no address is not believed, and nothing left of it
        ("198.51.100.9, unknown", PEER),
        ("198.51.100.9, unknown, 10.2.3.4", "10.2.3.4"),
        ("198.51.100.9, _hidden", PEER),
        ("198.51.100.9, 10.2.3.400", PEER),
        ("198.51.100.9, 010.2.3.4", PEER),
        ("198.51.100.9, 3232235777", PEER),
        ("198.51.100.9, ::1%<script>", PEER),
        ("198.51.100.9, [::1", PEER),
        ("198.51.100.9, [10.2.3.4]:x", PEER),
        ("198.51.100.9:1:2", PEER),
        ('"198.51.100.9"', PEER),
        ("198.51.100.9, ", PEER),
        ("", PEER),
        (", ".join(["198.51.100.9", *["10.2.3.4"] * MOST_HOPS]), "10.2.3.4"),
    ],
)
def test_the_client_is_the_rightmost_that_is_no_proxy(forwarded, client):
    assert client_address(request(PEER, X_Forwarded_For=forwarded), SERVER) == client


@pytest.mark.parametrize("peer", ["198.51.100.1", "2001:db8:2::9", "", None])
def test_a_peer_that_is_not_trusted_speaks_for_itself_alone(peer):
    asked = request(peer, X_Forwarded_For="203.0.113.1", X_Forwarded_Proto="https")

    assert client_address(asked, SERVER) == (peer or "")
    assert not came_by_tls(asked, SERVER)


def test_by_default_nobody_is_trusted():
    asked = request("127.0.0.1", X_Forwarded_For="203.0.113.1", X_Forwarded_Proto="https")

    assert client_address(asked, config.Server()) == "127.0.0.1"
    assert not came_by_tls(asked, config.Server())


@pytest.mark.parametrize(
    "peer", ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.7", "2001:db8:1::a%en0"]
)
def test_a_proxy_is_known_however_the_socket_names_it(peer):
    assert is_trusted(peer, SERVER)


@pytest.mark.parametrize(
    ("proto", "by_tls"),
    [
        ("https", True),
        ("HTTPS", True),
        ("http", False),
        ("http, https", True),  # the last is the trusted peer's
        ("https, http", False),
        (["https", "http"], False),
        ("", False),
        ("httpsx", False),
    ],
)
def test_tls_at_the_proxy_counts_when_the_proxy_says_so(proto, by_tls):
    assert came_by_tls(request(PEER, X_Forwarded_Proto=proto), SERVER) is by_tls


def test_tls_of_our_own_needs_no_word_of_a_proxys(tmp_path):
    files = {"tls_certificate": tmp_path / "c", "tls_key": tmp_path / "k"}

    assert came_by_tls(request("198.51.100.1"), config.Server(**files))


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
SPELLED = ADDRESSES.flatmap(
    lambda address: st.sampled_from(
        [f"[{address}]", f"[{address}]:443", address]
        if ":" in address
        else [address, f"{address}:443", f"::ffff:{address}"]
    )
)
PROXY = st.sampled_from(["10.1.2.3", "10.1.2.3:80", "192.0.2.7", "[2001:db8:1::1]:9"])
GARBAGE = st.text(st.characters(max_codepoint=255, exclude_characters=",\r\n\0"), max_size=60)
PADDING = st.sampled_from(["", " ", "\t", "  "])


@settings(deadline=None)
@given(
    left=st.lists(st.one_of(SPELLED, GARBAGE, PROXY), max_size=6),
    client=SPELLED,
    proxies=st.lists(PROXY, max_size=5),
    padding=PADDING,
)
def test_nothing_that_a_client_writes_changes_whose_address_it_is(left, client, proxies, padding):
    """The trusted proxies appended *client* and themselves; *left* is what the client sent."""
    honest = f",{padding}".join([client, *proxies])
    forged = [f",{padding}".join([*left, honest]), [", ".join(left), honest]]
    expected = client_address(request(PEER, X_Forwarded_For=honest), SERVER)

    if not is_trusted(client, SERVER):
        for each in forged:
            assert client_address(request(PEER, X_Forwarded_For=each), SERVER) == expected


@settings(deadline=None)
@given(st.lists(st.one_of(GARBAGE, SPELLED), max_size=4).map(",".join), ADDRESSES | st.just(PEER))
def test_whatever_is_forwarded_an_address_comes_of_it(forwarded, peer):
    """Never text of somebody's own: it is kept with the call, logged and counted by."""
    found = client_address(request(peer, X_Forwarded_For=forwarded), SERVER)

    assert str(ipaddress.ip_address(found)) == found
    if not is_trusted(peer, SERVER):
        assert found == peer
