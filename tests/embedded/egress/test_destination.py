"""Hosts and ports are read strictly, and whatever can be read in two ways is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.embedded.egress.destination import Destination, parse_destination
from e2b_magic.embedded.egress.refusals import Refusal


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com:443", "example.com"),
        ("EXAMPLE.com.:443", "example.com"),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example"),
        ("under_score.example:443", "under_score.example"),
        ("registry:443", "registry"),
        ("1.2.3.4:443", ipaddress.ip_address("1.2.3.4")),
        ("[2001:db8::1]:443", ipaddress.ip_address("2001:db8::1")),
        ("[::ffff:1.2.3.4]:443", ipaddress.ip_address("1.2.3.4")),
    ],
)
def test_names_and_addresses_are_read(text: str, host: object) -> None:
    """A name is taken in lower case and without its last dot, an address as what it is."""
    assert parse_destination(text) == Destination(host, 443)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.com..",
        "-a.com",
        "a-.com",
        "a b.com",
        "a@b.com",
        "a%00b.com",
        "a\0b.com",
        "a/b.com",
        "a\\b.com",
        "a#b.com",
        "a?b.com",
        "b\xfccher.example",
        "\u24d4xample.com",
        "o\u212a.com",
        "a\u3002com",
        "x" * 64 + ".com",
        ".".join(["x" * 60] * 5),
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "1.2.3.4.5",
        "a.0x",
        "[127.0.0.1]",
        "[example.com]",
        "[fe80::1%eth0]",
        "[::1",
        "::1",
        "*.example.com",
    ],
)
def test_what_is_no_plain_host_is_forbidden(host: str) -> None:
    """A host that some reader might take for another is refused by 403, in a line of ASCII that names it."""
    with pytest.raises(Refusal) as raised:
        parse_destination(f"{host}:443")
    assert raised.value.status == 403
    assert raised.value.line.isascii()
    assert raised.value.line.isprintable()
    assert len(raised.value.line) < 250


@pytest.mark.parametrize("text", ["a.com", "a.com:0", "a.com:65536", "a.com:99999"])
def test_a_port_is_needed(text: str) -> None:
    """Without a port that is one, the request is a bad one."""
    with pytest.raises(Refusal) as raised:
        parse_destination(text)
    assert raised.value.status == 400


def test_a_default_port_stands_in() -> None:
    """Where a port may be left out, the default one is meant."""
    assert parse_destination("a.com", default_port=80).port == 80


def _read(text: str) -> Destination | Refusal:
    try:
        return parse_destination(text)
    except Refusal as refusal:
        return refusal


@given(st.text(alphabet=st.characters(max_codepoint=0x24FF), max_size=60))
def test_what_is_read_is_read_the_same_again(text: str) -> None:
    """Whatever the text, it is refused, or means what its own spelling means."""
    read = _read(text)
    if isinstance(read, Refusal):
        assert read.response().isascii()
        assert read.response().count(b"\r\n\r\n") == 1
    else:
        assert _read(str(read)) == read
        assert str(read).isascii()
