"""Where webhooks may go: the table of addresses, and what URLs are refused at once."""

import pytest

from gateway.errors import BadRequest
from gateway.relay.webhooks.addresses import read_url, why_refused

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
    "64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1",
    "2001:10::1", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "febf::1", "fec0::1", "ff02::1", "100::1", "5f00::1", "4000::1",
    "", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
    "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2001:200::1",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_nothing_is_sent_to_an_address_that_is_not_public(address):
    assert why_refused(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_let_through(address):
    assert why_refused(address) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a?b=c&d=%2F",
        "https://hooks.example.com:8443/",
        "https://hooks.example.com:80/",
        "https://HOOKS.example.com./",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://1.example.com/",
    ],
)
def test_a_public_https_url_is_accepted_as_it_stands(url):
    read, anywhere = read_url(url, [])

    assert str(read).rstrip("/") == url.rstrip("/")
    assert not anywhere


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/a",
        "ftp://hooks.example.com/",
        "http://hooks.example.com/",
        "https://",
        "https:///path",
        "https://hooks.example.com:8080/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:99999/",
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://127.0.0.1@hooks.example.com/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: x",
        "https://hooks.example.com/é",
        "https://bücher.example/",
        "https://127.0.0.%31/",
        "https://127。0。0。1/",
        "https://" + "a" * 2048 + ".example.com/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://metadata/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://a.0x/",
        "https://0.0.0.0/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.8:8443/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
    ],
)
def test_any_other_url_is_refused_at_once(url):
    with pytest.raises(BadRequest, match="x-gateway-webhook"):
        read_url(url, [])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:5000/hook", "127.0.0.1"),
        ("http://receiver:81/", "receiver"),
        ("https://Receiver.internal./", "receiver.internal"),
        ("http://[0:0:0:0:0:0:0:1]:9/", "::1"),
    ],
)
def test_a_host_that_the_config_allows_may_be_anywhere(url, host):
    assert read_url(url, [host])[1]


@pytest.mark.parametrize("url", ["http://127.0.0.2/", "http://127.1/", "http://a.receiver:81/"])
def test_no_other_host_is_taken_for_an_allowed_one(url):
    with pytest.raises(BadRequest):
        read_url(url, ["127.0.0.1", "receiver"])
