"""A sandbox's rules: E2B's order of them, names with wildcards, and what cannot be a rule."""

from __future__ import annotations

import ipaddress

import pytest

from e2b_magic.embedded.egress.destination import parse_destination
from e2b_magic.embedded.egress.policy import MOST_RULES, Policy

ALL = "0.0.0.0/0"


def policy(allow: list[str] | None = None, deny: list[str] | None = None, *, internet: bool = True) -> Policy:
    """Gives the policy of a configuration."""
    return Policy.of(internet=internet, allow_out=allow or [], deny_out=deny or [])


def reaches(rules: Policy, host: str, address: str | None) -> bool:
    """Whether rules let a request for a host through that leads to an address."""
    destination = parse_destination(f"{host}:443")
    where = None if address is None else ipaddress.ip_address(address)
    return rules.refusal_unresolved(destination) is None and rules.refusal(destination, where) is None


def test_everything_is_allowed_by_default() -> None:
    """Without rules everything is allowed."""
    assert reaches(policy(), "example.com", "1.1.1.1")
    assert reaches(policy(), "[2606:4700::1111]", "2606:4700::1111")


def test_what_is_denied_is_denied() -> None:
    """`deny_out` keeps from its addresses, by whatever name; the rest stays allowed."""
    rules = policy(deny=["8.8.8.8", "1.1.1.0/24"])
    assert not reaches(rules, "8.8.8.8", "8.8.8.8")
    assert not reaches(rules, "dns.example", "1.1.1.77")
    assert reaches(rules, "dns.example", "1.1.2.1")


@pytest.mark.parametrize("address", ["64:ff9b::808:808", "2002:808:808::1"])
def test_a_denied_address_is_denied_in_disguise(address: str) -> None:
    """An IPv6 address that leads to a denied IPv4 one is denied too."""
    assert not reaches(policy(deny=["8.8.8.8"]), f"[{address}]", address)
    assert reaches(policy(deny=["8.8.4.4"]), f"[{address}]", address)


def test_allowed_wins_over_denied() -> None:
    """What `allow_out` names is allowed, whatever `deny_out` says."""
    rules = policy(["1.1.1.1", "8.8.8.0/24"], [ALL])
    assert reaches(rules, "1.1.1.1", "1.1.1.1")
    assert reaches(rules, "8.8.8.9", "8.8.8.9")
    assert not reaches(rules, "1.1.1.2", "1.1.1.2")
    assert reaches(policy(["10.0.0.1"], ["10.0.0.0/8"]), "10.0.0.1", "10.0.0.1")


@pytest.mark.parametrize("rules", [policy(deny=[ALL]), policy(internet=False)])
def test_all_denied_is_all(rules: Policy) -> None:
    """`0.0.0.0/0` and `allow_internet_access=False` mean IPv6 and names too."""
    assert not reaches(rules, "1.1.1.1", "1.1.1.1")
    assert not reaches(rules, "[2606:4700::1111]", "2606:4700::1111")
    assert not reaches(rules, "example.com", "1.1.1.1")
    assert not reaches(rules, "example.com", None)


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("ok.com", "ok.com", True),
        ("OK.com", "ok.COM.", True),
        ("ok.com", "sub.ok.com", False),
        ("ok.com", "evilok.com", False),
        ("ok.com", "ok.com.evil", False),
        ("*.ok.com", "sub.ok.com", True),
        ("*.ok.com", "a.b.ok.com", True),
        ("*.ok.com", "ok.com", False),
        ("*.ok.com", "evilok.com", False),
        ("*.ok.com", "sub.ok.com.evil", False),
        ("*", "anything.example", True),
    ],
)
def test_names_are_matched_whole(pattern: str, host: str, *, allowed: bool) -> None:
    """A name allows itself, `*.name` what is below it at any depth, `*` every name."""
    assert reaches(policy([pattern], [ALL]), host, "1.1.1.1") is allowed
    assert reaches(policy([pattern], internet=False), host, "1.1.1.1") is allowed


def test_a_name_allows_no_address() -> None:
    """A rule by name is for who asks by name."""
    assert not reaches(policy(["*"], [ALL]), "1.1.1.1", "1.1.1.1")


def test_a_denied_name_is_not_even_looked_up() -> None:
    """Where all is denied a lookup would itself carry something out; it is done where an answer could allow."""
    secret = parse_destination("secret.evil.com:443")
    for rules in (policy(deny=[ALL]), policy(internet=False), policy(["ok.com"], [ALL]), policy(["1.1.1.1"], [ALL])):
        assert rules.refusal_unresolved(secret) is not None
    assert policy(["ok.com", "1.1.1.1"], [ALL]).refusal_unresolved(secret) is None
    assert policy(["ok.com"], [ALL]).refusal_unresolved(parse_destination("ok.com:443")) is None


def test_an_unknown_address_is_allowed_by_name_alone() -> None:
    """Where the address cannot be known, rules about addresses refuse."""
    assert reaches(policy(), "example.com", None)
    assert reaches(policy(["example.com"], [ALL]), "example.com", None)
    assert not reaches(policy(deny=["8.8.8.8"]), "example.com", None)


@pytest.mark.parametrize(
    ("allow", "deny", "said"),
    [
        (["ok.com"], [], "ALL_TRAFFIC"),
        (["ok.com"], ["1.1.1.1"], "ALL_TRAFFIC"),
        ([], ["ok.com"], "names can only be allowed"),
        ([], ["not a cidr"], "deny out"),
        ([], ["10.0.0.0/8:22"], "port-specific"),
        (["8.8.8.8:80"], [], "port-specific"),
        (["ok.com:80"], [ALL], "port-specific"),
        (["*ok.com"], [ALL], "allow out"),
        (["*.*.com"], [ALL], "allow out"),
        (["ok.*"], [ALL], "allow out"),
        (["b\xfccher.de"], [ALL], "allow out"),
        (["o\u212a.com"], [ALL], "allow out"),
        (["0x7f.1"], [ALL], "allow out"),
        ([""], [ALL], "allow out"),
        (["1.1.1.1/33"], [ALL], "allow out"),
        ([], ["1.1.1.1"] * (MOST_RULES + 1), "more than"),
    ],
)
def test_what_is_no_rule_is_refused(allow: list[str], deny: list[str], said: str) -> None:
    """A rule that cannot be read, or would say nothing, is an error that names it."""
    with pytest.raises(ValueError, match=said):
        policy(allow, deny)


def test_a_network_is_taken_around_its_address() -> None:
    """`1.2.3.4/24` means 1.2.3.0/24, as it does at E2B, and an IPv4 network in IPv6 means the former."""
    assert not reaches(policy(deny=["1.2.3.4/24"]), "1.2.3.9", "1.2.3.9")
    assert not reaches(policy(deny=["::ffff:1.2.3.0/120"]), "1.2.3.9", "1.2.3.9")
