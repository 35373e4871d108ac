"""The verbs that look back, and those on what is kept: executions, projects, cached results. None needs a sandbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from e2b_magic.client.changes import CacheCleared, SettingsChanged
from e2b_magic.client.verbs import Verbs
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.records import ExecutionResult, Project, Status
from e2b_magic.store import CachedResult, CacheInfo
from e2b_magic.worker.requests.base import check_project_name


class HistoryVerbs(Verbs, ABC):
    """Looking back."""

    @abstractmethod
    def _rerun(self, record: ExecutionResult, envs: Mapping[str, str] | None = None) -> ExecutionResult:
        """Runs a record's command once more: what every result that is given is bound to."""

    def get_execution_history(
        self,
        project: str | None = None,
        *,
        status: Status | None = None,
        text: str | None = None,
        since: float | None = None,
        limit: int | None = 50,
        before: str | None = None,
    ) -> list[ExecutionResult]:
        """Gives executions of the last seven days, newest first.

        Args:
            project: Only this project's; all projects' when left out.
            status: Only those that ended so.
            text: Only those whose command contains this.
            since: Only those that began at or after this time, in seconds since the epoch.
            limit: How many at most; None for all.
            before: Only those older than the execution of this id: give the last id of a page to get the next.
        """
        if project is not None:
            check_project_name(project)
        records = self.store.history(project, status=status, text=text, since=since, limit=limit, before=before)
        return [record.bound(self._rerun) for record in records]

    def get_execution(self, execution_id: str) -> ExecutionResult:
        """Gives an execution by its id, or by the id's last letters as far as they tell it from the others.

        Raises:
            InvalidRequestError: There is none, or more than one.
        """
        if found := self.store.execution(execution_id):
            return found.bound(self._rerun)
        recent = self.store.history(limit=1000)
        matches = [record for record in recent if len(execution_id) >= 4 and record.id.endswith(execution_id)]
        if len(matches) == 1:
            return matches[0].bound(self._rerun)
        several = f"stands for {len(matches)} executions: give more of the id"
        wrong = several if matches else "is not in the history: %e2b history --all lists what is"
        raise InvalidRequestError(f"{execution_id!r} {wrong}")

    def get_project_info(self, project: str | None = None) -> Project:
        """Gives what is known of a project; one without anything stored is new."""
        name = check_project_name(project or self.project)
        return self._recorder.known(name) or Project(name=name)

    def get_projects(self) -> list[Project]:
        """Gives every project that anything is stored of, by name."""
        return self.store.projects()

    def use_project(self, name: str) -> Project:
        """Makes a project the current one.

        Raises:
            InvalidRequestError: Its name cannot name a project.
        """
        self.project = check_project_name(name)
        self.changes.announce(SettingsChanged())
        return self.get_project_info()

    def use_template(self, template: str) -> None:
        """Makes the sandboxes of new projects from a template, or from a snapshot by its id."""
        if not template.strip():
            raise InvalidRequestError("The template's name is empty: `base` is what there is without one")
        self.configuration = self._work.configuration = replace(self.configuration, template=template)
        self.changes.announce(SettingsChanged())

    def clear_cache(self, command: str | None = None, project: str | None = None) -> int:
        """Forgets cached results: a command's, a project's, a command's in a project, or all; gives their number."""
        count = self.store.clear_cache(command, project)
        self.changes.announce(CacheCleared())
        return count

    def get_cache_info(self) -> CacheInfo:
        """Gives the cache's size, its hits and its misses."""
        return self.store.cache_info()

    def get_cached_results(self, limit: int | None = None) -> list[CachedResult]:
        """Gives the results that may be given again, newest first.

        Args:
            limit: How many at most; all when left out.
        """
        return self.store.cached_results(limit)
