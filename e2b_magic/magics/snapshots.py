"""`%e2b snapshot`, `snapshots`, `fork` and `metrics`: copies of a sandbox, and what it uses."""

from __future__ import annotations

import argparse
import base64
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Column, Table, as_line
from e2b_magic.magics.options import PROJECT, PROJECT_WORD
from e2b_magic.quantities import ago, size

if TYPE_CHECKING:
    from e2b_magic.records import SandboxMetrics, Snapshot


def snapshot(context: Context, arguments: argparse.Namespace) -> Snapshot:
    """Takes a snapshot and gives it."""
    return context.client.snapshot_sandbox(arguments.name or "", arguments.project)


def _line(taken: Snapshot) -> str:
    return f"Snapshot {taken.snapshot_id}: %e2b new NAME --template {taken.snapshot_id} makes a sandbox from it"


SHOW: Final = as_line(_line)
"""How a snapshot is shown that is a cell's value."""


def snapshots(context: Context, arguments: argparse.Namespace) -> Table[Snapshot]:
    """Gives the snapshots."""
    columns: tuple[Column[Snapshot], ...] = (
        Column("snapshot", lambda one: one.snapshot_id),
        Column("names", lambda one: ", ".join(one.names)),
    )
    return Table(context.client.list_snapshots(), columns, empty="There is no snapshot.")


def delete(context: Context, arguments: argparse.Namespace) -> None:
    """Deletes a snapshot."""
    if not context.client.delete_snapshot(arguments.id):
        raise UsageError(f"%e2b snapshots delete: there is no snapshot {arguments.id!r}; %e2b snapshots lists them")
    print(f"Deleted snapshot {arguments.id}")


def fork(context: Context, arguments: argparse.Namespace) -> None:
    """Makes another project's sandbox from a project's own."""
    client = context.client
    state = client.fork_sandbox(arguments.name, arguments.project, on_event=context.printer())
    source = arguments.project or client.project
    print(
        f"Project {state.project} has sandbox {state.sandbox_id}, a copy of that of {source}: %e2b use {state.project}"
    )


def metrics(context: Context, arguments: argparse.Namespace) -> Measured:
    """Gives what a sandbox used."""
    return Measured(context.client.get_sandbox_metrics(arguments.name), _COLUMNS, empty="Nothing was measured yet.")


class Measured(Table["SandboxMetrics"]):
    """What a sandbox used, as a table; where matplotlib is installed, with a plot below it."""

    def _repr_html_(self) -> str:
        table = super()._repr_html_()
        if len(self) < 2 or find_spec("matplotlib") is None:
            return table
        picture = base64.b64encode(self._plot()).decode()
        return f'{table}<img alt="processor and memory over time" src="data:image/png;base64,{picture}">'

    def _plot(self) -> bytes:
        # Not pyplot: it would choose a backend, and keep the figure, for a user who plots something else.
        from matplotlib.figure import Figure

        began = self[0].timestamp
        elapsed = [one.timestamp - began for one in self]
        figure = Figure(figsize=(6, 1.8), dpi=100, layout="constrained")
        processor, memory = figure.subplots(1, 2)
        processor.plot(elapsed, [one.cpu_used_pct for one in self])
        processor.set(title="processor, %", xlabel="seconds", ylim=(0, None))
        memory.plot(elapsed, [one.memory_used / 1e6 for one in self])
        memory.set(title="memory, MB", xlabel="seconds", ylim=(0, None))
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        return picture.getvalue()


def _of(used: int, total: int) -> str:
    return f"{size(used)} of {size(total)}" if total else size(used)


_COLUMNS: Final[tuple[Column[SandboxMetrics], ...]] = (
    Column("when", lambda one: ago(one.timestamp), right=True),
    Column("processor", lambda one: f"{one.cpu_used_pct:.0f} % of {one.cpu_count}", right=True),
    Column("memory", lambda one: _of(one.memory_used, one.memory_total), right=True),
    Column("file cache", lambda one: size(one.memory_cache), right=True),
    Column("disk", lambda one: _of(one.disk_used, one.disk_total), right=True),
)

COMMANDS = (
    Command(
        name="snapshot",
        summary="Keep the sandbox's present state, for others to be made from",
        run=snapshot,
        arguments=(
            PROJECT,
            Argument(names=("name",), metavar="NAME", summary="what it is called: small letters, digits, '_' and '-'"),
        ),
        examples=("%e2b snapshot", "before = %e2b snapshot before-upgrade"),
        notes=("The value is a Snapshot; its `snapshot_id` is a template for `%e2b new`.",),
    ),
    Command(name="snapshots list", summary="List the snapshots", run=snapshots, examples=("%e2b snapshots",)),
    Command(
        name="snapshots delete",
        summary="Throw a snapshot away",
        run=delete,
        arguments=(Argument(names=("id",), metavar="ID", required=True, summary="the snapshot's id"),),
        examples=("%e2b snapshots delete before-upgrade",),
    ),
    Command(
        name="fork",
        summary="Give another project a copy of the sandbox, as it is now",
        run=fork,
        arguments=(
            PROJECT,
            Argument(
                names=("name",), metavar="NAME", required=True, summary="the other project; it has no sandbox yet"
            ),
        ),
        examples=("%e2b fork experiment", "%e2b use experiment"),
    ),
    Command(
        name="metrics",
        summary="Show what a project's sandbox uses of processor, memory and disk",
        run=metrics,
        arguments=(PROJECT_WORD,),
        examples=("%e2b metrics",),
        notes=("The value is a list of SandboxMetrics, oldest first. With matplotlib a notebook shows a plot too.",),
    ),
)
