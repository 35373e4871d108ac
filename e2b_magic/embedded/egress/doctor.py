"""What `e2b-magic doctor` says of the way out of sandboxes."""

from __future__ import annotations

from collections.abc import Mapping

from e2b_magic.embedded.egress.gateway import ADMIT, Gateway
from e2b_magic.embedded.sandbox.doctor import Finding, Level
from e2b_magic.exceptions import ConfigurationError


def way_out(environment: Mapping[str, str]) -> Finding:
    """Gives the finding for the settings of an environment; nobody is dialled for it.

    Args:
        environment: What a server would be started with.
    """
    try:
        gateway = Gateway.from_environment(environment)
    except ConfigurationError as error:
        return Finding(Level.BAD, "way out", str(error), "no server starts with it", "correct it, or unset it")
    upstream, admitted = gateway.upstream, ", ".join(map(str, gateway.guard.admitted))
    if upstream is not None and upstream.unsupported:
        consequence = "sandboxes reach nothing, for they do not go around it"
        remedy = "name an http:// proxy in HTTPS_PROXY, or unset it"
        return Finding(
            Level.LESS, "way out", f"HTTPS_PROXY cannot be used: {upstream.unsupported}", consequence, remedy
        )
    way = "straight to the internet"
    if upstream is not None:
        given = "names" if upstream.resolves else "addresses"
        way = f"by HTTPS_PROXY ({upstream.host}:{upstream.port}), which is given {given}"
    if not admitted:
        return Finding(Level.GOOD, "way out", f"{way}; not to this machine or its networks")
    consequence = "what listens there is open to hostile code, unless a sandbox's own rules deny it"
    return Finding(
        Level.LESS, "way out", f"{way}, and to {admitted}", consequence, f"unset {ADMIT} if that is not meant"
    )
