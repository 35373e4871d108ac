"""Where a port of a project's sandbox is reached by a program, on whichever E2B it lives."""

from __future__ import annotations

from dataclasses import dataclass, field

from e2b_magic.exceptions import SandboxGoneError
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.worker.protocol import ignore
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.jobs import check_port


@dataclass(frozen=True, slots=True)
class PortAddress:
    """A port that can be reached.

    Attributes:
        url: The scheme and host to ask, without a path.
        headers: What leads from there to the port, and opens it.
    """

    url: str
    headers: dict[str, str] = field(repr=False)


async def port_address(manager: SandboxManager, project: str, port: int) -> PortAddress:
    """Gives the address of a port of a project's sandbox, which is not made for that.

    Where the server is known by a URL the port is named in headers, since no name below `localhost` need resolve;
    E2B's cloud has a host name for each port.

    Raises:
        InvalidRequestError: That is no port of a server in a sandbox.
        SandboxGoneError: The project has no sandbox.
    """
    check_port(port)
    lease = await manager.existing(Request(project_id=project), ignore)
    if lease is None:
        raise SandboxGoneError(f"Project {project!r} has no sandbox that runs: the first command makes one")
    manager.lifetimes.extend_used(lease)
    token = lease.sandbox.traffic_access_token
    headers = {} if token is None else {"E2b-Traffic-Access-Token": token}
    if lease.connection.sandbox_url is None:
        return PortAddress(f"https://{lease.sandbox.get_host(port)}", headers)
    routed = {"E2b-Sandbox-Id": lease.sandbox_id, "E2b-Sandbox-Port": str(port)}
    return PortAddress(lease.connection.sandbox_url.rstrip("/"), headers | routed)
