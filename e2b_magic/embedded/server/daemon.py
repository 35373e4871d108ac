"""The embedded server's process: from an empty directory to a server that answers, and back.

`serve` prepares what sandboxes need, listens, writes the runtime file and reports; then it waits for a signal or for
nobody to need it any more. On the way out the runtime file goes first, so that nobody new comes; then the sandboxes.
A server that is killed outright leaves its files; the next one, or whoever looks for it, knows them for stale.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

import e2b_magic
from e2b_magic.embedded.containment.removal import reclaim
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.endpoint import Endpoint, identity, remove_endpoint, write_endpoint
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.server.application import Application
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.connection_bounds import ConnectionBounds
from e2b_magic.embedded.server.connections import ConnectionProtocol, reading_on
from e2b_magic.embedded.server.record import FILE, Record, kept_in
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.embedded.server.snapshots import Snapshots
from e2b_magic.embedded.server.templates import Templates
from e2b_magic.embedded.server.tokens import new_api_key
from e2b_magic.embedded.settings import Settings
from e2b_magic.exceptions import EmbeddedServerError

# E2B's SDKs keep connections for 300 s, and a request that goes out on one that was just closed is not repeated.
_KEEP_ALIVE = 330
# Connections that may stand open without a request under way: far more than the SDKs of one user keep.
_MOST_IDLE = 1024
# Seconds that requests under way get to end once their sandboxes are gone.
_FAREWELL = 2.0

_log = logging.getLogger(__name__)


class Server:
    """An HTTP server on a socket, in the running event loop.

    uvicorn's own `Server` would handle signals its way and wake up ten times a second; its protocol is all that is
    needed.

    Args:
        application: What answers.
        bounds: How many connections there may be.
    """

    def __init__(self, application: ASGIApp, bounds: ConnectionBounds) -> None:
        self._state = ServerState()
        self._bounds = bounds
        self._config = Config(
            reading_on(application),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE,
            server_header=False,
        )
        self._config.load()
        self._server: asyncio.Server | None = None

    def _protocol(self) -> ConnectionProtocol:
        return ConnectionProtocol(self._config, self._state, self._bounds)

    async def start(self, listening: socket.socket) -> None:
        """Answers what comes to a socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=listening, backlog=1024)

    async def stop(self) -> None:
        """Takes nothing new, lets what is under way end, and closes every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=_FAREWELL)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)


def _raise_descriptor_limit() -> int:
    """Lets the server open as many descriptors as it may, and says how many.

    The usual soft limit of 1,024 is for programs that call select(2); each sandbox takes about seven, each of its
    processes three, each connection one. What runs in a sandbox has a limit of its own.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _listen() -> socket.socket:
    """Gives a socket on 127.0.0.1 whose port the kernel chose."""
    # With the protocol named, unlike `socket.create_server`: only then does asyncio switch Nagle's algorithm off, which
    # together with delayed acknowledgements makes every short command 40 ms longer.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    return listening


async def _until_unneeded(application: Application, sandboxes: Sandboxes, idle_timeout: float) -> None:
    """Returns when there was no sandbox and no request for `idle_timeout` seconds."""
    while True:
        idle = 0.0 if len(sandboxes) else application.activity.idle
        if idle >= idle_timeout:
            return
        await asyncio.sleep(max(idle_timeout - idle, 0.05))


async def _until_told(application: Application, sandboxes: Sandboxes, idle_timeout: float) -> None:
    """Returns at a signal to end, or when nobody needs the server any more."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waits = [
        loop.create_task(told.wait()),
        loop.create_task(_until_unneeded(application, sandboxes, idle_timeout)),
    ]
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    _log.info("ending: %s", "told to" if told.is_set() else "nobody needs the server")


def _clear(states: Path) -> tuple[list[Record], list[str]]:
    """Makes the directory of the sandboxes' directories, without those of sandboxes that ran in a killed server.

    Returns:
        The paused ones that are there, and the ids of those that were.

    Raises:
        EmbeddedServerError: Something else stands in its place.
    """
    try:
        states.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise EmbeddedServerError(
            f"{states} is no directory, as the embedded server needs it to be: move it away"
        ) from error
    lost = reclaim(states, keep=FILE)
    for name in lost:
        _log.info("removed the files of sandbox %s, whose server is gone", name)
    return kept_in(states), lost


async def serve(directory: Path, idle_timeout: float, settings: Settings, ready: Callable[[], None]) -> None:
    """Serves until told to end, or until nobody needs the server any more.

    Args:
        directory: Where the runtime file and the sandboxes' files lie.
        idle_timeout: Seconds without a sandbox and a request after which the server ends.
        settings: What it was told.
        ready: Called once it answers.

    Raises:
        ContainmentError: This machine cannot contain a sandbox.
        ConfigurationError: A setting in the environment cannot be read.
    """
    gateway = Gateway.from_environment(os.environ)
    descriptors = _raise_descriptor_limit()
    states = directory / "sandboxes"
    paused, lost = await in_thread(_clear, states)
    snapshots = Snapshots(directory / "snapshots")
    await in_thread(snapshots.load)
    launcher, report = await prepare(states)
    _log.info("%s", report)
    templates = Templates.from_environment(os.environ)
    sandboxes = Sandboxes(
        states, launcher, settings.limits, gateway, snapshots, pool=settings.pool, templates=templates
    )
    sandboxes.adopt(paused, lost)
    api_key = new_api_key()
    application = Application(sandboxes, api_key)
    # However low the limit: the rest is for sandboxes, and for what requests under way open in them.
    server = Server(application, ConnectionBounds(descriptors // 3, min(_MOST_IDLE, descriptors // 4)))
    listening = _listen()
    await server.start(listening)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    endpoint = Endpoint(url, api_key, os.getpid(), identity(os.getpid()) or "", e2b_magic.__version__)
    write_endpoint(directory, endpoint)
    _log.info("serving at %s", url)
    looking = asyncio.get_running_loop().create_task(application.metrics.run())
    try:
        ready()
        sandboxes.start_ahead()
        await _until_told(application, sandboxes, idle_timeout)
    finally:
        remove_endpoint(directory, endpoint)
        looking.cancel()
        await sandboxes.close()
        await server.stop()
        launcher.close()
