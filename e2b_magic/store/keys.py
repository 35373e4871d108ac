"""The keys of one user's records.

The words are the seed's:

    <user>/exec_result/<id>              an execution, for seven days
    <user>/exec_history/<project>/<id>   that it is one of this project's; empty
    <user>/exec_pending/<id>             an execution that has not ended
    <user>/project_meta/<project>        a project, for good
    <user>/job/<project>/<id>            a background job, for seven days after it was last looked at
    <user>/cache_cmd/<key>               which execution answers this key, for an hour

Users' and projects' names are percent-encoded, so that no name can reach into another's keys.
"""

from __future__ import annotations

from urllib.parse import quote


class Keys:
    """Gives a user's keys, and as prefixes the beginnings that many of them share.

    Args:
        user: The user's name.
    """

    def __init__(self, user: str) -> None:
        self._user = quote(user, safe="")
        self.owner = self._user.encode()

    def _key(self, *words: str) -> bytes:
        return "/".join([self._user, *words]).encode()

    def result(self, execution_id: str = "") -> bytes:
        """Gives the key of an execution that has ended."""
        return self._key("exec_result", execution_id)

    def history(self, project: str, execution_id: str = "") -> bytes:
        """Gives the key that puts an execution into its project's history."""
        return self._key("exec_history", quote(project, safe=""), execution_id)

    def pending(self, execution_id: str = "") -> bytes:
        """Gives the key of an execution that has not ended."""
        return self._key("exec_pending", execution_id)

    def project(self, name: str) -> bytes:
        """Gives the key of a project."""
        return self._key("project_meta", quote(name, safe=""))

    def job(self, project: str = "", job_id: str = "") -> bytes:
        """Gives the key of a background job; without a project, the prefix of all."""
        return self._key("job", quote(project, safe=""), job_id) if project else self._key("job", "")

    def cache(self, key: str = "") -> bytes:
        """Gives the key of a cached result."""
        return self._key("cache_cmd", key)
