"""The frozen records that travel between the layers and rest in the store, a module for each subject.

An `ExecutionResult` is one command's run, from `pending` to its end. A `Project` is what is known of one
project: its sandbox, its revision, its server. All turn into plain JSON mappings and back (`base.Record`); nothing
secret is ever part of them (of a command's environment, the names alone).
"""

from e2b_magic.records.executions import ExecutionResult, Status, new_execution_id
from e2b_magic.records.files import FileEntry, Found, TransferResult, TreeEntry
from e2b_magic.records.jobs import BackgroundJob, JobState
from e2b_magic.records.projects import Preview, Project
from e2b_magic.records.sandboxes import SandboxMetrics, SandboxState, Snapshot

__all__ = [
    "BackgroundJob",
    "ExecutionResult",
    "FileEntry",
    "Found",
    "JobState",
    "Preview",
    "Project",
    "SandboxMetrics",
    "SandboxState",
    "Snapshot",
    "Status",
    "TransferResult",
    "TreeEntry",
    "new_execution_id",
]
