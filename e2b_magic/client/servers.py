"""The verbs on dev servers: start one, stop it, and say where a port is seen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Unpack

from e2b_magic.client.background import OnEvent
from e2b_magic.client.jobs import Begun, JobVerbs
from e2b_magic.client.options import JobOptions
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.records import BackgroundJob, Preview
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import check_project_name
from e2b_magic.worker.requests.jobs import PreviewPort, StartDevServer

READY_WITHIN = 60.0
"""How long a server may take until its port answers, unless told otherwise, in seconds."""


class ServerVerbs(JobVerbs):
    """Dev servers."""

    def start_dev_server(
        self,
        command: str | None = None,
        port: int | None = None,
        *,
        ready_within: float = READY_WITHIN,
        on_event: OnEvent | None = None,
        **options: Unpack[JobOptions],
    ) -> BackgroundJob:
        """Starts a server in the background, waits until its port answers, and gives its job; one there is replaced.

        Args:
            command: The text that bash runs, which finds the port in `PORT`; the project's own when left out.
            port: Where it will listen; the project's port when left out.
            ready_within: Seconds in which the port has to answer; else the server is stopped.
            on_event: Called with each piece of progress, and with what the server writes until it answers.
            options: See `JobOptions`; `cwd` is the project's directory when left out.

        Raises:
            InvalidRequestError: No command or no port is known, or something else listens there.
            ServerNotReadyError: The server ended, or did not answer in time.
            KeyboardInterrupt: It was interrupted before the port answered: the server is ended.
        """
        return self._submit(self._serving(command, port, ready_within, options), on_event).wait()

    async def astart_dev_server(
        self,
        command: str | None = None,
        port: int | None = None,
        *,
        ready_within: float = READY_WITHIN,
        on_event: OnEvent | None = None,
        **options: Unpack[JobOptions],
    ) -> BackgroundJob:
        """Does what `start_dev_server` does; to cancel it before the port answers ends the server."""
        return await self._submit(self._serving(command, port, ready_within, options), on_event).wait_async()

    def _serving(self, command: str | None, port: int | None, ready_within: float, options: JobOptions) -> Begun:
        here = self._here(options, JobOptions)
        fields = self._job_fields(here)
        known = self._recorder.known(fields["project_id"])
        fields["cwd"] = fields["cwd"] or (known.path if known else None)
        port = self._port(port, fields["project_id"])
        command = command or (known.dev if known else "")
        if not command:
            raise InvalidRequestError(
                f"What serves project {fields['project_id']!r} is not known: give the command, as in npm run dev"
            )
        request = StartDevServer(**fields, command=command, port=port, ready_within=ready_within)

        async def serve(emit: Emit) -> BackgroundJob:
            job = await self._begin(request, emit)
            self._recorder.keep_project(job.project, port=job.port, url=job.url or "", dev=job.command)
            return job

        return serve

    def _port(self, port: int | None, project: str) -> int:
        known = self._recorder.known(project)
        port = port or (known.port if known else None)
        if port is None:
            raise InvalidRequestError(
                f"No port of project {project!r} is known: say which, as in %e2b dev --port 8000, or %e2b preview 8000"
            )
        return port

    def get_preview(self, port: int | None = None, project: str | None = None) -> Preview:
        """Gives where a port of a project's sandbox is reached from a browser.

        Args:
            port: The port; the project's own when left out.
            project: The project; the current one when left out.

        Raises:
            InvalidRequestError: No port is known.
            SandboxGoneError: The project has no sandbox that runs.
        """
        return self._submit(self._looking(port, project)).wait()

    async def aget_preview(self, port: int | None = None, project: str | None = None) -> Preview:
        """Does what `get_preview` does."""
        return await self._submit(self._looking(port, project)).wait_async()

    def _looking(self, port: int | None, project: str | None) -> Callable[[Emit], Coroutine[Any, Any, Preview]]:
        name = check_project_name(project or self.project)
        target: dict[str, Any] = self._work.target({"project": name})
        request = PreviewPort(**target, port=self._port(port, name))

        async def look(emit: Emit) -> Preview:
            return Preview(project=name, **await self._work.call(request, emit))

        return look
