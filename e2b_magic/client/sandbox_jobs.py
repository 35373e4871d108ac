"""How a verb on sandboxes goes to work: it becomes a request, and the request a job on the background loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from e2b_magic.client.background import Job, OnEvent
from e2b_magic.client.sandbox_work import SandboxWork
from e2b_magic.client.verbs import Verbs
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import Request

R = TypeVar("R", bound=Request)
T = TypeVar("T")
Do = Callable[[SandboxWork, R, Emit], Coroutine[Any, Any, T]]


class SandboxJobs(Verbs):
    """What the groups of verbs on sandboxes have in common."""

    def _job(
        self, do: Do[R, T], kind: type[R], project: str | None, on_event: OnEvent | None = None, **fields: Any
    ) -> Job[T]:
        target = self._work.target({"project": project or self.project})
        request, work = kind(**(target | fields)), SandboxWork(self._work)
        return self._submit(lambda emit: do(work, request, emit), on_event)
