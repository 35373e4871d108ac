"""The variables that a sandbox's processes get, and the certificates that some of these name."""

from __future__ import annotations

import os
from pathlib import Path

from e2b_magic.embedded.egress.authority import Authority
from e2b_magic.embedded.egress.proxy import proxy_variables
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.creation import Creation
from e2b_magic.embedded.server.network import puts_headers

# Where a sandbox finds whom to trust. Among its own files: it may do with them what it likes, and harms nobody else.
CERTIFICATES = "/home/user/.e2b-magic/certificates.pem"
# What OpenSSL and Python, curl, Git, Python's requests, and Node.js look at; and what comes before the settings of pip
# and npm, which a machine behind a company's proxy has.
_VARIABLES = (
    *("SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("PIP_CERT", "NPM_CONFIG_CAFILE"),
)
# Debian and its kin mark their Python as theirs, so that pip refuses to install anything (PEP 668). A sandbox's layer
# over /usr is its own: nothing of the system can be broken there, and E2B's own template has no such mark.
_PACKAGES = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}
# Where systems keep in one file whom they trust: Debian's family, Red Hat's, SUSE's, Alpine's.
_SYSTEMS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def environment_of(sandbox_id: str, creation: Creation, *, trusting: bool = False) -> dict[str, str]:
    """Gives the variables of a sandbox; the client's own cannot take the place of those that say where it is.

    Args:
        sandbox_id: Its id.
        creation: What its client asked for.
        trusting: Whether it trusts this server's authority (`trust`).
    """
    own = {"E2B_SANDBOX": "true", "E2B_SANDBOX_ID": sandbox_id, "E2B_TEMPLATE_ID": creation.template}
    certificates = dict.fromkeys(_VARIABLES, CERTIFICATES) if trusting else {}
    return {**proxy_variables(), **_PACKAGES, **certificates, **creation.envs, **own}


async def trust(contained: Sandbox, creation: Creation, authority: Authority) -> None:
    """Has a sandbox trust this server's authority, where a rule of its puts headers into requests.

    Without it, programs inside refuse what this server says in a host's place; nothing gets out that should not.

    Args:
        contained: The sandbox.
        creation: What its client asked for.
        authority: The server's.

    Raises:
        AgentError: The file cannot be written.
        OSError: The same.
    """
    if not (puts_headers(creation.network) and await in_thread(lambda: authority.available)):
        return
    certificates = await in_thread(_certificates, authority)
    descriptor, _ = await contained.open_write(CERTIFICATES, "user", metadata=None)
    try:
        await in_thread(_write, descriptor, certificates)
    finally:
        os.close(descriptor)
    await contained.set_environment(environment_of(contained.sandbox_id, creation, trusting=True))


def _certificates(authority: Authority) -> bytes:
    found = next((path for name in _SYSTEMS if (path := Path(name)).is_file()), None)
    return (found.read_bytes() if found is not None else b"") + b"\n" + authority.certificate.encode("ascii")


def _write(descriptor: int, contents: bytes) -> None:
    left = memoryview(contents)
    while left:
        left = left[os.write(descriptor, left) :]
