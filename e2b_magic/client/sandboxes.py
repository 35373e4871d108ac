"""The verbs on a project's sandbox itself: make, look at, keep longer, put to rest, end.

Each takes the project's name, the current one when it is left out. What a server says of a sandbox is stored as well,
so that whoever looks next need not ask.
"""

from __future__ import annotations

from e2b_magic.client.background import OnEvent
from e2b_magic.client.sandbox_jobs import SandboxJobs
from e2b_magic.client.sandbox_work import SandboxWork
from e2b_magic.records import SandboxMetrics, SandboxState
from e2b_magic.worker.requests.sandboxes import (
    CreateSandbox,
    ExtendSandbox,
    GetSandboxMetrics,
    KillSandbox,
    PauseSandbox,
    ResumeSandbox,
    SandboxStatus,
    SetSandboxTimeout,
)


def _given(template: str | None) -> dict[str, str]:
    return {} if template is None else {"template": template}


class SandboxVerbs(SandboxJobs):
    """Looking after a project's sandbox."""

    def get_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Gives the state of a project's sandbox, as its server sees it; makes none."""
        return self._job(SandboxWork.state, SandboxStatus, project).wait()

    async def aget_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Does what `get_sandbox_status` does."""
        return await self._job(SandboxWork.state, SandboxStatus, project).wait_async()

    def create_sandbox(
        self,
        project: str | None = None,
        *,
        template: str | None = None,
        replace: bool = False,
        on_event: OnEvent | None = None,
    ) -> SandboxState:
        """Makes a project's sandbox before anything is run in it, and gives its state.

        Args:
            project: The project's name; the current one when left out.
            template: The template, or the snapshot's id, that it is made from; when left out, what the project was made
                from before, or the configuration's.
            replace: Whether one that the project has is ended first, files and all.
            on_event: Called with each piece of progress.

        Raises:
            InvalidRequestError: The project has a sandbox, and `replace` is not given.
            BackendError: No sandbox could be had.
        """
        return self._job(
            SandboxWork.state, CreateSandbox, project, on_event, **_given(template), replace_existing=replace
        ).wait()

    async def acreate_sandbox(
        self,
        project: str | None = None,
        *,
        template: str | None = None,
        replace: bool = False,
        on_event: OnEvent | None = None,
    ) -> SandboxState:
        """Does what `create_sandbox` does."""
        return await self._job(
            SandboxWork.state, CreateSandbox, project, on_event, **_given(template), replace_existing=replace
        ).wait_async()

    def pause_sandbox(self, project: str | None = None) -> SandboxState:
        """Puts a project's sandbox to rest, its files kept, until it is resumed or used; gives its state.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.state, PauseSandbox, project).wait()

    async def apause_sandbox(self, project: str | None = None) -> SandboxState:
        """Does what `pause_sandbox` does."""
        return await self._job(SandboxWork.state, PauseSandbox, project).wait_async()

    def resume_sandbox(self, project: str | None = None, *, on_event: OnEvent | None = None) -> SandboxState:
        """Wakes a project's sandbox and gives its state; one that runs goes on.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.state, ResumeSandbox, project, on_event).wait()

    async def aresume_sandbox(self, project: str | None = None, *, on_event: OnEvent | None = None) -> SandboxState:
        """Does what `resume_sandbox` does."""
        return await self._job(SandboxWork.state, ResumeSandbox, project, on_event).wait_async()

    def extend_sandbox(self, seconds: float, project: str | None = None) -> SandboxState:
        """Lets a project's sandbox live at least so many seconds from now, and gives its state; never shortens.

        Raises:
            InvalidRequestError: The project has no sandbox that runs, or nobody may ask for so long.
        """
        return self._job(SandboxWork.state, ExtendSandbox, project, seconds=seconds).wait()

    async def aextend_sandbox(self, seconds: float, project: str | None = None) -> SandboxState:
        """Does what `extend_sandbox` does."""
        return await self._job(SandboxWork.state, ExtendSandbox, project, seconds=seconds).wait_async()

    def set_sandbox_timeout(self, seconds: float, project: str | None = None) -> SandboxState:
        """Has a project's sandbox end so many seconds from now, and after each later use; gives its state.

        The time is the project's from now on: it holds after a restart, and for its next sandbox.

        Raises:
            InvalidRequestError: The project has no sandbox that runs, or nobody may ask for so long.
        """
        return self._job(SandboxWork.set_timeout, SetSandboxTimeout, project, seconds=seconds).wait()

    async def aset_sandbox_timeout(self, seconds: float, project: str | None = None) -> SandboxState:
        """Does what `set_sandbox_timeout` does."""
        return await self._job(SandboxWork.set_timeout, SetSandboxTimeout, project, seconds=seconds).wait_async()

    def kill_sandbox(self, project: str | None = None) -> list[str]:
        """Ends a project's sandbox, its files with it, and gives the ids of those that were ended."""
        return self._job(SandboxWork.kill, KillSandbox, project).wait()

    async def akill_sandbox(self, project: str | None = None) -> list[str]:
        """Does what `kill_sandbox` does."""
        return await self._job(SandboxWork.kill, KillSandbox, project).wait_async()

    def forget_project(self, project: str | None = None) -> list[str]:
        """Ends a project's sandbox, its files with it, and forgets the project; gives the ids of those that were ended.

        Its history stays until its time is over.

        Raises:
            InvalidRequestError: Its sandbox is on another E2B than this session's.
        """
        return self._job(SandboxWork.forget, KillSandbox, project).wait()

    async def aforget_project(self, project: str | None = None) -> list[str]:
        """Does what `forget_project` does."""
        return await self._job(SandboxWork.forget, KillSandbox, project).wait_async()

    def get_sandbox_metrics(self, project: str | None = None) -> list[SandboxMetrics]:
        """Gives what a project's sandbox used of processor, memory and disk, oldest first.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.metrics, GetSandboxMetrics, project).wait()

    async def aget_sandbox_metrics(self, project: str | None = None) -> list[SandboxMetrics]:
        """Does what `get_sandbox_metrics` does."""
        return await self._job(SandboxWork.metrics, GetSandboxMetrics, project).wait_async()
