"""The rules that put headers into requests, as E2B's clients write them (`rules`): read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from e2b_magic.embedded.egress.names import NamePattern
from e2b_magic.embedded.egress.transforms import Header, Transform
from e2b_magic.embedded.server.protocol_errors import ProtocolError

# E2B's figures.
_MOST_DOMAINS = 10
_LONGEST_DOMAIN = 128
_MOST_HEADERS = 20
_LONGEST_NAME = 64
_LONGEST_VALUE = 2048

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")  # and 5.5
# The framing is the proxy's own affair: set by somebody else, two servers would disagree on where the body ends.
_FRAMING = frozenset({"connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"})
# What E2B's own proxy puts a value in place of: a token that it makes, or a secret that it keeps.
_PLACEHOLDER = re.compile(r"\$\{e2b\.(?:identity\.tokens|secrets)\.")


def transforms_in(network: Mapping[str, Any]) -> tuple[Transform, ...]:
    """Gives what the rules of a network configuration do.

    Raises:
        ProtocolError: 400 for a rule that cannot be read, 501 for one that this server cannot keep.
    """
    rules = network.get("rules") or {}
    if not isinstance(rules, dict) or not all(isinstance(each, list) for each in rules.values()):
        raise ProtocolError(400, "rules must be an object whose values are lists")
    if len(rules) > _MOST_DOMAINS:
        raise ProtocolError(400, f"rules must be for up to {_MOST_DOMAINS} domains")
    return tuple(_transforms_in(rules))


def _transforms_in(rules: Mapping[str, list[Any]]) -> Iterator[Transform]:
    for domain, each in rules.items():
        pattern = _pattern_in(domain)
        if len(each) > 1:
            raise ProtocolError(400, f"rules must have no more than one rule for each domain: {domain} has {len(each)}")
        headers = [header for rule in each for header in _headers_in(rule, domain)]
        if headers:
            yield Transform(pattern, tuple(headers))


def _pattern_in(domain: str) -> NamePattern:
    shown = repr(domain[:_LONGEST_DOMAIN])
    if len(domain) > _LONGEST_DOMAIN or domain == "*":
        raise ProtocolError(400, f"{shown} in rules is longer than {_LONGEST_DOMAIN} characters, or means all names")
    try:
        return NamePattern.parse(domain)
    except ValueError as error:
        raise ProtocolError(400, f"{shown} in rules is no host's name, nor *. and a name") from error


def _headers_in(rule: object, domain: str) -> Iterator[Header]:
    if not isinstance(rule, dict):
        raise ProtocolError(400, "each of the rules must be an object")
    transform = rule.get("transform") or {}
    headers = transform.get("headers") or {} if isinstance(transform, dict) else None
    if not isinstance(headers, dict):
        raise ProtocolError(400, f"transform in the rule for {domain} must be an object with headers, an object too")
    if len(headers) > _MOST_HEADERS:
        raise ProtocolError(400, f"the rule for {domain} must have up to {_MOST_HEADERS} headers")
    for name, value in headers.items():
        yield _header(name, value, domain)


def _header(name: str, value: object, domain: str) -> Header:
    """Gives a header; its value, which may be a key, is in no message."""
    header = f"the header {name[:_LONGEST_NAME]!r} in the rule for {domain}"
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ProtocolError(400, f"{header} must have a token of up to {_LONGEST_NAME} characters for a name")
    if name.lower() in _FRAMING:
        raise ProtocolError(400, f"{header} cannot be set: it is about the connection")
    if not isinstance(value, str) or len(value) > _LONGEST_VALUE or not _VALUE.fullmatch(value):
        raise ProtocolError(400, f"{header} must have a header's value of up to {_LONGEST_VALUE} characters")
    if _PLACEHOLDER.search(value):
        raise ProtocolError(501, f"{header} names a secret or a token, and E2B's cloud alone has these")
    return name.encode("ascii"), value.encode("latin-1")
