"""The command in a sandbox that packs or unpacks a tree while its archive comes and goes in parts.

An archive travels as files of some megabytes in a directory of its own, whose room is given back as soon as the other
side has it. So the sandbox unpacks what has come while the next part is on its way, its disk never holds a tree
twice, and nothing is needed but bash, tar and coreutils. What is said to the command through its standard input keeps
the two in step; when nothing is said for `PATIENCE` seconds, or `stop`, it ends and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from e2b import AsyncCommandHandle, AsyncSandbox, CommandExitException

from e2b_magic.exceptions import E2BMagicError, NotEnoughSpaceError
from e2b_magic.sandboxes.files import KILLED, command_error
from e2b_magic.sandboxes.finishing import started
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.requests.files import OnPath

PATIENCE: Final = 900
"""How long the command waits for a word, in seconds: longer than a transfer waits for the pieces of a part."""
_BLOCKS: Final = 128
"""How many blocks of 512 bytes tar packs or unpacks at once: as many as a pipe holds.

Not so where it unpacks into a directory that is there: it would wait for so many in the middle of a file, which is half
a file if it is ended then.
"""
_LARGEST: Final = 16
"""What a part that is packed has at most, in MiB: each costs a process and a request, and the sandbox holds a few."""
_ENDING: Final = 1.0
"""How long to wait, in seconds, for what it says at its end when it hears nothing any more."""
_STOPPING: Final = 30.0
"""How long to wait, in seconds, until it has cleared away."""

_STAGE: Final = r"""
parts={parts} target={target}
name=${{target%"${{target##*[!/]}}"}}
beside=${{name%/*}}/ above=${{name%/*}}/
until [ -d "$above" ]; do above=${{above%/*/}}/; done
stage=$above/{hidden}
"""
"""Where a directory that is not there yet is made: in the nearest that is there.

By bash alone, since a process costs 2 ms. The target has a slash: see `quoted`.
"""

_UNPACK: Final = r"""
{stage}
into=$target tar= listening= steps=
[ -e "$target" ] || {{ into=$stage; steps='-b {blocks}'; }}
clear_away() {{
  exec 3>&-
  kill $tar $listening 2>/dev/null
  [ -z "$tar" ] || wait "$tar"
  rm -rf -- "$parts" "$stage"
}}
trap clear_away EXIT
trap 'exit 1' TERM
mkdir -m 700 -- "$parts" && mkdir -p -- "$into" && mkfifo -- "$parts/archive" || exit
echo ready
tar $steps -C "$into" --no-same-owner -xpf - < "$parts/archive" &
tar=$!
exec 3> "$parts/archive" 4<&0
listen() {{
  while read -r there; do [ "$there" != stop ] || kill -TERM $$; done
}}
give() {{
  cat -- "$parts/$1" >&3 &
  wait "$!" && : > "$parts/$1"
}}
take() {{
  local next=0 there end
  while read -r -t {patience} there end && [ "$there" != stop ]; do
    [ -z "$end" ] || {{ listen <&4 3>&- & listening=$!; disown "$listening"; }}
    for (( ; next < there; next++)); do give "$next" || return; done
    [ -z "$end" ] || return 0
  done
  return 1
}}
take || exit
exec 3>&-
wait "$tar"
code=$? tar=
[ "$code" = 0 ] || exit "$code"
[ "$into" = "$target" ] || {{ mkdir -p -- "$beside" && mv -T -- "$stage" "$target"; }}
"""
"""Says when parts may come, takes lines with the number of those that have, the last with a second word; unpacks them.

It heeds `stop` until the tree is in its place: a trap waits for what runs in the foreground, and so cat and tar do not.
What clears away ends tar's input first: a signal that comes while tar is being started goes unfelt.
Who listens is forgotten by number: without one bash forgets tar now and then, and `wait` takes its failure for none.
The parts' directory is its own to make: one that the first part makes would be open to the sandbox's other users.
A directory that is not there yet is made aside, and appears when it is whole.
"""

_PACK: Final = r"""
set -o pipefail
shopt -s lastpipe
parts={parts} next=0 taken=0 size=1 counting=
trap 'rm -rf -- "$parts"; [ -z "$counting" ] || kill "$counting" 2>/dev/null' EXIT
mkdir -m 700 -- "$parts" && cd -- {path} || exit
{named}
exec 3<&0
take() {{
  read -r -t {patience} word <&3 && [ "$word" != stop ] && taken=$((taken + 1))
}}
count() {{
  du -sbl . 2>/dev/null & counting=$!
}}
give() {{
  while part=$parts/$((next % {ahead})); dd bs=1M count=$size iflag=fullblock status=none of="$part" || return
  [ -s "$part" ]; do
    next=$((next + 1)) size=$((size < {largest} ? 2 * size : size)); echo part
    [ -n "$counting" ] || [ "$SECONDS" -lt 2 ] || count
    [ $((next - taken)) -lt {ahead} ] || take || return
  done
  while [ "$taken" -lt "$next" ]; do take || return; done
}}
tar -b {blocks} --format=gnu --hard-dereference -cf - {what} | give
"""
"""Tells of each part that lies there, and takes a line for each that has been taken: the next may take its place.

The first part is small, so that it comes soon. When it takes longer than a moment, du tells how many bytes there are.
"""


_NAMED: Final = r"""
echo ready
read -r -t {patience} word && [ "$word" != stop ] || exit
"""
"""Waits until the names lie there of what is to be packed, in a directory that nobody else in the sandbox may enter."""


def unpack_scripts(parts: str, target: str) -> tuple[str, str]:
    """Gives the script that unpacks, and the one that removes what it has left behind, should it have been killed.

    Args:
        parts: The directory of the parts; its name, too, is that of the directory that is made aside.
        target: Where the tree goes, as the shell reads it.
    """
    stage = _STAGE.format(parts=parts, target=target, hidden=posixpath.basename(parts))
    return _UNPACK.format(stage=stage, patience=PATIENCE, blocks=_BLOCKS), f'{stage}\nrm -rf -- "$parts" "$stage"'


def pack_script(parts: str, path: str, ahead: int, *, listed: bool) -> str:
    """Gives the script that packs.

    Args:
        parts: The directory for the parts.
        path: The tree, as the shell reads it.
        ahead: How many parts may lie there.
        listed: Whether only what `names` in that directory tells is packed: it says `ready`, and waits for a line.
    """
    return _PACK.format(
        parts=parts,
        path=path,
        named=_NAMED.format(patience=PATIENCE) if listed else "",
        what='--null --no-recursion --verbatim-files-from -T "$parts/names"' if listed else ".",
        ahead=ahead,
        blocks=_BLOCKS,
        largest=_LARGEST,
        patience=PATIENCE,
    )


class TarScript:
    """One of the two at work.

    Args:
        sandbox: Where.
        request: The request that it serves.
        script: The script.
        parts: The directory of its parts.
        heard: Called with what it tells.

    Attributes:
        ended: Done when it has ended; raises what it failed with.
    """

    def __init__(
        self,
        sandbox: AsyncSandbox,
        request: OnPath,
        script: str,
        parts: str,
        heard: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._request = request
        self._parts = parts
        self._starting = started(self._start(script, heard))
        self.ended = started(self._end())

    async def _start(self, script: str, heard: Callable[[str], Awaitable[None]] | None) -> AsyncCommandHandle[Any]:
        with translating():
            return await self._sandbox.commands.run(
                script, background=True, stdin=True, user=self._request.user, timeout=0, on_stdout=heard
            )

    async def _end(self) -> None:
        handle = await asyncio.shield(self._starting)
        try:
            with translating():
                await handle.wait()
        except CommandExitException as failed:
            full = await self._no_room() if failed.exit_code in KILLED else None
            raise full or command_error(self._request, failed) from None

    async def _no_room(self) -> NotEnoughSpaceError | None:
        """Gives the error that there is no room, if so: who fills an embedded sandbox is killed, and cannot say it."""
        try:
            with translating():
                await self._sandbox.files.write(f"{self._parts}/room", b"", user=self._request.user)
        except NotEnoughSpaceError as error:
            return NotEnoughSpaceError(f"{self._request.path}: {error}")
        except E2BMagicError:  # such as that the sandbox is gone, which its next use tells
            return None
        return None

    async def hears(self, telling: Coroutine[Any, Any, Any]) -> bool:
        """Waits for what it is to tell, and says whether that came before its end.

        Raises:
            FileError: It has failed.
        """
        waiting = asyncio.create_task(telling)
        try:
            await asyncio.wait([waiting, self.ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not waiting.done():
            self.check()
        return waiting.done()

    async def tell(self, text: str) -> None:
        """Says something to it.

        Raises:
            FileError: It has failed.
        """
        handle = await asyncio.shield(self._starting)
        try:
            with translating():
                await handle.send_stdin(text)
        except E2BMagicError:
            # Who has ended hears nothing; what it ended with tells more.
            await asyncio.wait([self.ended], timeout=_ENDING)
            self.check()
            raise

    @property
    def well(self) -> bool:
        """Whether it has ended, and well."""
        return self.ended.done() and not self.ended.cancelled() and self.ended.exception() is None

    def check(self) -> None:
        """Raises what it failed with, should it have.

        Raises:
            FileError: It has failed.
        """
        if self.ended.done():
            self.ended.result()

    async def stop(self) -> None:
        """Ends it, should it not have ended by itself; what it has made is gone then, unless somebody has killed it."""
        if not self.ended.done():
            with suppress(E2BMagicError):  # then it ends of itself, with the sandbox or for want of a word
                await self.tell("stop\n")
            await asyncio.wait([self.ended], timeout=_STOPPING)
        self.ended.cancel()
