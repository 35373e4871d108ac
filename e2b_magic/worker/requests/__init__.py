"""What a client may ask of a worker, one module a subject; `REQUESTS` finds a class by the `type` that travels.

Every class derives from `base.Request` and refuses, when it is made, what cannot be meant.
"""

from __future__ import annotations

from e2b_magic.worker.requests import commands, files, jobs, projects, sandboxes, terminals, transfers
from e2b_magic.worker.requests.base import Request

__all__ = ["REQUESTS", "Request"]

REQUESTS: dict[str, type[Request]] = {
    request.type: request
    for request in (
        commands.ExecuteCommand,
        files.WriteFile,
        files.ReadFile,
        files.ListFiles,
        files.PeekDirectory,
        files.RemoveFile,
        terminals.OpenTerminal,
        terminals.SendInput,
        terminals.ResizeTerminal,
        terminals.CloseTerminal,
        transfers.ListTree,
        transfers.OpenUpload,
        transfers.OpenDownload,
        transfers.SendPiece,
        transfers.ReceivePiece,
        transfers.CloseTransfer,
        files.RenameFile,
        files.CopyFile,
        files.MakeDirectory,
        files.FindFiles,
        sandboxes.SandboxStatus,
        sandboxes.CreateSandbox,
        sandboxes.KillSandbox,
        sandboxes.PauseSandbox,
        sandboxes.ResumeSandbox,
        sandboxes.SnapshotSandbox,
        sandboxes.ListSnapshots,
        sandboxes.DeleteSnapshot,
        sandboxes.ForkSandbox,
        sandboxes.ExtendSandbox,
        sandboxes.SetSandboxTimeout,
        sandboxes.ListSandboxes,
        sandboxes.GetSandboxMetrics,
        projects.CompareFiles,
        projects.SetupProject,
        jobs.StartJob,
        jobs.StartDevServer,
        jobs.ListJobs,
        jobs.ReadLog,
        jobs.StopJob,
        jobs.PreviewPort,
    )
}
"""The class of each request, by its type."""
