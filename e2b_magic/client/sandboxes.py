"""The verbs on a project's sandbox itself."""

from __future__ import annotations

from e2b_magic.client.verbs import Verbs
from e2b_magic.records import SandboxState
from e2b_magic.worker.requests.sandboxes import KillSandbox, SandboxStatus


class SandboxVerbs(Verbs):
    """Looking after sandboxes."""

    def get_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Gives the state of a project's sandbox, as its server sees it; makes none."""
        request = SandboxStatus(**self._work.target({"project": project or self.project}))
        state = SandboxState.from_json(self._submit(lambda emit: self._work.call(request, emit)).wait())
        if state.state == "gone":
            self._recorder.distrust(request.project_id)
        return state

    def kill_sandbox(self, project: str | None = None) -> list[str]:
        """Ends a project's sandbox, its files with it, and gives the ids of those that were ended."""
        request = KillSandbox(**self._work.target({"project": project or self.project}))
        killed: list[str] = self._submit(lambda emit: self._work.call(request, emit)).wait()["killed"]
        self._recorder.detach(request.project_id)
        return killed
