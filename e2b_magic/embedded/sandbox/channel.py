"""The daemon's end of the channel to an agent, every answer on which is taken for hostile.

An answer must be of bounded length, well-formed, to a question that was asked, and carry exactly the descriptors that
the question allows. Anything else is a `Violation`, upon which the sandbox is dropped; the daemon lives on.
A descriptor that the kernel could not give the daemon is no fault of the sandbox's: that one question is refused.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import json
import marshal
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from e2b_magic.embedded.agent.channel import ANSWER_LIMIT, FRAGMENT

T = TypeVar("T")
# Fragments read in one go, before the loop's other work has its turn.
_BURST = 64
# Bytes that may wait for an agent that does not read.
_BACKLOG_LIMIT = 32 * 1024 * 1024
ENDED = "the sandbox's first process ended"
OUT_OF_DESCRIPTORS = "the embedded server has too many files open: try again when it has less to do"


class Violation(Exception):  # noqa: N818 - what a sandbox did, not an error of ours
    """An answer that an honest agent would not have given."""


class Gone(Exception):  # noqa: N818 - a state
    """The channel is closed."""


class Refused(Exception):  # noqa: N818 - an answer
    """The agent's error answer: a code and a line, neither of which is checked yet."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class _Lost:
    """Stands for a descriptor that was sent, and for which the daemon had no number left."""


_LOST = _Lost()
_Sent = int | _Lost | None


@dataclass(slots=True)
class _Question:
    answer: asyncio.Future[Any]
    accept: Callable[[Any, int | None], Any]
    descriptor: bool


class Channel:
    """Asks an agent, and hears from it.

    Args:
        end: The daemon's end of the socket pair.
        told: Called with each message that answers no question.
        broken: Called once, with the reason, when the channel ended or the agent broke its rules.
    """

    def __init__(
        self, end: socket.socket, told: Callable[[dict[str, Any]], None], broken: Callable[[str], None]
    ) -> None:
        self._socket = end
        self._told = told
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._questions: dict[int, _Question] = {}
        self._last = 0
        self._parts: list[bytes] = []
        self._length = 0
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._unsent_bytes = 0
        self._closed = False
        end.setblocking(False)
        self._loop.add_reader(end, self._read)

    async def ask(
        self,
        do: str,
        given: Mapping[str, Any],
        accept: Callable[[Any, int | None], T],
        *,
        descriptors: Sequence[int] = (),
        descriptor: bool = False,
        abandon: Callable[[T], object] | None = None,
    ) -> T:
        """Gives what `accept` makes of the agent's answer.

        Args:
            do: What the agent shall do.
            given: The request's values.
            accept: Called with the answer's result and descriptor as soon as they are there, before any later
                message is looked at; raises `Violation` for what it does not believe. Once it has returned, the
                descriptor is its own.
            descriptors: Sent along; they are closed here, whatever happens.
            descriptor: Whether the answer carries one.
            abandon: Called with an answer that came in the very moment in which its asker was cancelled: what came
                with it is nobody else's to close.

        Raises:
            Refused: The agent could not do it.
            Gone: The sandbox ended.
        """
        self._last += 1
        question = _Question(self._loop.create_future(), accept, descriptor)
        self.tell({"do": do, "id": self._last, **given}, descriptors)
        self._questions[self._last] = question
        # An asker that is cancelled cancels the answer: what comes for it is then thrown away.
        try:
            answer: T = await question.answer
        except asyncio.CancelledError:
            if abandon is not None and _has_come(question.answer):
                abandon(question.answer.result())
            raise
        return answer

    def tell(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends a message that is not answered; closes the descriptors, whatever happens.

        Raises:
            Gone: The sandbox ended, or reads no more.
        """
        data = marshal.dumps(dict(message))
        if self._closed or self._unsent_bytes + len(data) > _BACKLOG_LIMIT:
            _close_all(descriptors)
            raise Gone
        while len(data) > FRAGMENT:
            self._enqueue(b"+" + data[:FRAGMENT], [])
            data = data[FRAGMENT:]
        self._enqueue(b"." + data, list(descriptors))
        self._write()

    def _enqueue(self, fragment: bytes, descriptors: list[int]) -> None:
        self._unsent.append((fragment, descriptors))
        self._unsent_bytes += len(fragment)

    def _write(self) -> None:
        while self._unsent:
            fragment, descriptors = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                self._socket.sendmsg([fragment], rights)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError as error:
                self._break(f"the agent's channel failed: {error.strerror}")
                return
            self._unsent.popleft()
            self._unsent_bytes -= len(fragment)
            _close_all(descriptors)
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            for _ in range(_BURST):
                if self._closed or not self._read_one():
                    return
        except Violation as violation:
            self._break(f"the agent broke its protocol: {violation}")

    def _read_one(self) -> bool:
        """Reads one fragment; says whether there may be more."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                FRAGMENT + 1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError as error:
            self._break(f"the agent's channel failed: {error.strerror}")
            return False
        descriptors = _received(ancillary)
        # The kernel hands descriptors over one by one, and there is room for the first: cut off before that one, the
        # process has as many open as it may have. To ask the kernel afterwards would be a race with what closes some.
        lost = bool(flags & socket.MSG_CTRUNC) and not descriptors
        if len(descriptors) > 1 or flags & socket.MSG_TRUNC or (flags & socket.MSG_CTRUNC and not lost):
            _close_all(descriptors)
            raise Violation("more was sent at once than any answer holds")
        if not data:
            _close_all(descriptors)
            self._break(ENDED)
            return False
        self._take(data, _LOST if lost else descriptors[0] if descriptors else None)
        return True

    def _take(self, data: bytes, descriptor: _Sent) -> None:
        with contextlib.ExitStack() as unless_handed_on:
            if isinstance(descriptor, int):
                unless_handed_on.callback(os.close, descriptor)
            self._parts.append(data[1:])
            self._length += len(data)
            if self._length > ANSWER_LIMIT + ANSWER_LIMIT // FRAGMENT + 1:
                raise Violation("an answer is too long")
            if data[:1] == b"+" and descriptor is None:
                return
            if data[:1] != b".":
                raise Violation("a fragment is malformed")
            message = _parsed(b"".join(self._parts))
            self._parts, self._length = [], 0
            if self._deliver(message, descriptor):
                unless_handed_on.pop_all()

    def _deliver(self, message: dict[str, Any], descriptor: _Sent) -> bool:
        """Hands an answer to who asked; says whether the descriptor went with it."""
        number = message.get("id")
        if number is None:
            if descriptor is not None:
                raise Violation("a descriptor came with no answer")
            self._told(message)
            return False
        question = self._questions.get(number) if type(number) is int else None
        if question is None:
            raise Violation("an answer is to no question")
        error = message.get("error")
        if (descriptor is not None) != (question.descriptor and error is None):
            raise Violation("an answer has not the descriptors that it should have")
        answered = False
        # Forgotten only once answered: a violation leaves it to `close`, which answers all that are still asked.
        if not question.answer.done():
            try:
                if error is not None:
                    raise _refusal(error)
                question.answer.set_result(_accepted(question, message.get("result"), descriptor))
            except Refused as refused:
                question.answer.set_exception(refused)
            else:
                answered = True
        del self._questions[number]
        return answered

    def _break(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._broken(reason)

    def close(self) -> None:
        """Closes the channel; whoever still waits for an answer is told `Gone`."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, descriptors in self._unsent:
            _close_all(descriptors)
        self._unsent.clear()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.answer.done():
                question.answer.set_exception(Gone())


def _has_come(answer: asyncio.Future[Any]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise Violation("an answer is not JSON") from None
    if not isinstance(message, dict):
        raise Violation("an answer is not an object")
    return message


def _accepted(question: _Question, result: Any, descriptor: _Sent) -> Any:
    if isinstance(descriptor, _Lost):
        raise _exhausted()
    try:
        return question.accept(result, descriptor)
    except OSError as error:  # to look at a descriptor takes another one at times
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise _exhausted() from error
        raise Violation(f"a descriptor cannot be looked at: {error.strerror}") from error


def _exhausted() -> Refused:
    return Refused("exhausted", OUT_OF_DESCRIPTORS)


def _refusal(error: Any) -> Refused:
    if not isinstance(error, dict):
        raise Violation("an error is not an object")
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        raise Violation("an error lacks its code or its message")
    return Refused(code, message)


def _received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return list(descriptors)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
