"""The filter of system calls: a small assembler for the kernel's classic BPF, and the program it makes.

libseccomp would do the same for a native dependency. The program is short: load the architecture, refuse
another; load the call's number, jump to a verdict. x86-64 and aarch64 have one; elsewhere `program` gives None and the
report of the preflight says that the filter is off.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass, field
from functools import cache

from e2b_magic.embedded.containment.system_calls import CONDITIONAL, FORBIDDEN, MISSING

# linux/filter.h, linux/bpf_common.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
# linux/seccomp.h
ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
# struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits, little end first.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# linux/audit.h: the architecture's word, then this module's column in the tables of `system_calls`.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# Calls of the x32 interface carry this bit, and would pass a filter by number.
X32_BIT = 0x40000000
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NEW_NAMESPACE = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
PERSONALITIES = (0, 0x0040000, 0xFFFFFFFF)  # Linux, without address randomisation (debuggers), "only ask"


@dataclass(slots=True)
class Assembler:
    """Collects instructions; a jump names a label further down, which is placed later."""

    _code: list[tuple[int, int, str, str]] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)

    def emit(self, code: int, value: int) -> None:
        """Adds an instruction that does not jump."""
        self._code.append((code, value, "", ""))

    def jump(self, code: int, value: int, *, then: str = "", otherwise: str = "") -> None:
        """Adds a comparison; an empty label means the next instruction."""
        self._code.append((code, value, then, otherwise))

    def place(self, label: str) -> None:
        """Gives the next instruction a label."""
        self._labels[label] = len(self._code)

    def assemble(self) -> bytes:
        """Gives the program as an array of `struct sock_filter`.

        Raises:
            ValueError: A jump leads back, or further than the 255 instructions that one can.
        """
        return b"".join(
            struct.pack("<HBBI", code, self._distance(here, then), self._distance(here, otherwise), value)
            for here, (code, value, then, otherwise) in enumerate(self._code)
        )

    def _distance(self, here: int, label: str) -> int:
        distance = self._labels[label] - here - 1 if label else 0
        if not 0 <= distance <= 255:
            raise ValueError(f"the jump at {here} to {label!r} is {distance} instructions long; 0 to 255 are possible")
        return distance


@dataclass(frozen=True, slots=True)
class _Check:
    """A call that is allowed with some values of one argument only.

    The kernel takes the low 32 bits of each argument named here; to compare all 64 could be cheated (CVE-2017-5226).
    """

    argument: int
    values: tuple[int, ...]
    match: str
    otherwise: str
    mask: int = 0xFFFFFFFF


CHECKS = {
    "clone": _Check(0, (0,), match="allowed", otherwise="forbidden", mask=NEW_NAMESPACE),
    "ioctl": _Check(1, (TIOCSTI, TIOCLINUX), match="forbidden", otherwise="allowed"),
    "personality": _Check(0, PERSONALITIES, match="allowed", otherwise="forbidden"),
    "socket": _Check(0, FAMILIES, match="allowed", otherwise="no family"),
    "socketpair": _Check(0, FAMILIES, match="allowed", otherwise="no family"),
}


def _check_arguments(code: Assembler, column: int) -> None:
    for name, check in CHECKS.items():
        code.jump(JUMP_EQUAL, CONDITIONAL[name][column], otherwise=f"not {name}")
        code.emit(LOAD, ARGUMENTS + 8 * check.argument)
        code.emit(AND, check.mask)
        for value in check.values:
            code.jump(JUMP_EQUAL, value, then=check.match)
        # A comparison that is always true: the one jump of BPF that has no condition has no label here either.
        code.jump(JUMP_GREATER_OR_EQUAL, 0, then=check.otherwise)
        code.place(f"not {name}")


@cache
def program(machine: str = platform.machine()) -> bytes | None:
    """Gives the filter for a machine, as bubblewrap's `--seccomp` reads it; None where there is none.

    Args:
        machine: As `platform.machine()` names it.
    """
    if machine not in MACHINES:
        return None
    architecture, column = MACHINES[machine]
    code = Assembler()
    code.emit(LOAD, ARCHITECTURE)
    code.jump(JUMP_EQUAL, architecture, otherwise="foreign")
    code.emit(LOAD, NUMBER)
    if machine == "x86_64":
        code.jump(JUMP_GREATER_OR_EQUAL, X32_BIT, then="missing")
    for table, label in ((FORBIDDEN, "forbidden"), (MISSING, "missing")):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                code.jump(JUMP_EQUAL, number, then=label)
    _check_arguments(code, column)
    for label, verdict in (
        ("allowed", ALLOW),
        ("forbidden", ERRNO | errno.EPERM),
        ("missing", ERRNO | errno.ENOSYS),
        ("no family", ERRNO | errno.EAFNOSUPPORT),
        ("foreign", KILL_PROCESS),
    ):
        code.place(label)
        code.emit(RETURN, verdict)
    return code.assemble()
