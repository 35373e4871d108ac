"""What E2B calls envd: the server of one sandbox, on the port that the SDKs reach it at.

Every request but a health check carries the sandbox's access token, or, for a file, a signature made with it.
"""

from __future__ import annotations

from typing import Any

from connectrpc.server import ConnectASGIApplication
from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.callers import observed
from e2b_magic.embedded.server.files import Files
from e2b_magic.embedded.server.filesystem import FilesystemService
from e2b_magic.embedded.server.messages import CODECS
from e2b_magic.embedded.server.process import ProcessService
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.running import Processes
from e2b_magic.embedded.server.tokens import equal

# The port that the SDKs name, and the version that they take the features of the server from.
ENVD_PORT = 49983
ENVD_VERSION = "0.6.13"

# An input to a process travels as one message; connectrpc's own bound of 4 MB would refuse what E2B takes.
_LARGEST_MESSAGE = 64 * 1024 * 1024
_UNAUTHORIZED = "unauthorized access, please provide a valid access token or method signing if supported"


class Envd:
    """The server of one sandbox.

    Args:
        contained: The sandbox.
        processes: Its processes.
        token: Its access token.
    """

    def __init__(self, contained: Sandbox, processes: Processes, token: str) -> None:
        self._token = token
        self._files = Files(contained, token)
        self._services: dict[str, ConnectASGIApplication[Any]] = {}
        # E2B's clients neither send nor expect compressed messages; compressing streams would delay them.
        process = ProcessASGIApplication(
            ProcessService(contained, processes), compressions=(), codecs=CODECS, read_max_bytes=_LARGEST_MESSAGE
        )
        filesystem = FilesystemASGIApplication(FilesystemService(contained), compressions=(), codecs=CODECS)
        for service in (process, filesystem):
            self._services[service.path.strip("/")] = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, if it carries the token."""
        path: str = scope["path"]
        if path == "/health":
            await Response(status_code=204)(scope, receive, send)
        elif path == "/files":
            await self._files(scope, receive, send)
        elif not equal(Request(scope).headers.get("x-access-token"), self._token):
            raise ProtocolError(401, _UNAUTHORIZED)
        else:
            service = self._services.get(path.split("/")[1])
            if service is None:
                raise ProtocolError(404, f"the sandbox's server has no {path}")
            await service(scope, observed(receive), send)
