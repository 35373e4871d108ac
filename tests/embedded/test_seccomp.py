"""The filter of system calls: the assembler, the tables, and what the program answers when it is run."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2b_magic.embedded.containment import seccomp
from e2b_magic.embedded.containment.system_calls import CONDITIONAL, FORBIDDEN, MISSING

COLUMNS = [pytest.param(machine, column, id=machine) for machine, (_, column) in seccomp.MACHINES.items()]
HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


def answer(machine: str, number: int, arguments: tuple[int, ...] = (0,) * 6, architecture: int | None = None) -> int:
    """Runs a machine's program on a system call, as the kernel would, and gives what it returns."""
    program = seccomp.program(machine)
    assert program is not None
    known = seccomp.MACHINES[machine][0]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, known if architecture is None else architecture, 0, *arguments)
    code = list(struct.iter_unpack("<HBBI", program))
    place = accumulator = 0
    while True:
        kind, then, otherwise, value = code[place]
        place += 1
        match kind:
            case seccomp.LOAD:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case seccomp.AND:
                accumulator &= value
            case seccomp.JUMP_EQUAL:
                place += then if accumulator == value else otherwise
            case seccomp.JUMP_GREATER_OR_EQUAL:
                place += then if accumulator >= value else otherwise
            case seccomp.RETURN:
                return int(value)


@pytest.mark.parametrize(("machine", "column"), COLUMNS)
def test_every_call_of_the_tables_has_its_answer(machine: str, column: int) -> None:
    """Each forbidden call is refused, each missing one answered as unknown."""
    for table, code in ((FORBIDDEN, errno.EPERM), (MISSING, errno.ENOSYS)):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                assert answer(machine, number) == seccomp.ERRNO | code


@settings(database=None)
@given(st.integers(0, 2**29))
def test_every_other_call_is_allowed(number: int) -> None:
    """A call that no table holds passes."""
    for machine, (_, column) in seccomp.MACHINES.items():
        listed = {numbers[column] for table in (FORBIDDEN, MISSING, CONDITIONAL) for numbers in table.values()}
        if number not in listed:
            assert answer(machine, number) == seccomp.ALLOW


@settings(database=None)
@given(st.integers(0, 2**64 - 1))
def test_arguments_are_judged_by_their_low_half(argument: int) -> None:
    """The verdict on an argument is that of its low 32 bits, whatever lies above."""
    for name, check in seccomp.CHECKS.items():
        place = (0,) * check.argument
        rest = (0,) * (5 - check.argument)
        number = CONDITIONAL[name][0]
        assert answer("x86_64", number, (*place, argument, *rest)) == answer(
            "x86_64", number, (*place, argument & 0xFFFFFFFF, *rest)
        )


@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("clone", (0x11,), seccomp.ALLOW),
        ("clone", (0x10000011,), seccomp.ERRNO | errno.EPERM),
        ("ioctl", (0, 0x5413), seccomp.ALLOW),
        ("ioctl", (0, 0x5412), seccomp.ERRNO | errno.EPERM),
        ("ioctl", (0, 0x100005412), seccomp.ERRNO | errno.EPERM),
        ("personality", (0xFFFFFFFF,), seccomp.ALLOW),
        ("personality", (0x0400000,), seccomp.ERRNO | errno.EPERM),
        ("socket", (2,), seccomp.ALLOW),
        ("socket", (40,), seccomp.ERRNO | errno.EAFNOSUPPORT),
        ("socketpair", (1,), seccomp.ALLOW),
    ],
)
def test_calls_that_depend_on_an_argument(name: str, arguments: tuple[int, ...], verdict: int) -> None:
    """A call that is allowed with some arguments only gets the verdict of its argument, on both machines."""
    for machine, (_, column) in seccomp.MACHINES.items():
        assert answer(machine, CONDITIONAL[name][column], (*arguments, *(0,) * (6 - len(arguments)))) == verdict


def test_another_architecture_is_killed_and_x32_is_missing() -> None:
    """What is numbered otherwise cannot pass by a number's meaning something else."""
    assert answer("x86_64", 39, architecture=0x40000003) == seccomp.KILL_PROCESS
    assert answer("aarch64", 39, architecture=0xC000003E) == seccomp.KILL_PROCESS
    assert answer("x86_64", 0x40000000 | 39) == seccomp.ERRNO | errno.ENOSYS


def test_a_machine_without_tables_has_no_filter() -> None:
    """Elsewhere there is none, which the preflight reports."""
    assert seccomp.program("riscv64") is None


def test_a_jump_too_far_is_an_error() -> None:
    """A jump that BPF cannot make is refused when the program is assembled, not cut short."""
    code = seccomp.Assembler()
    code.jump(seccomp.JUMP_EQUAL, 1, then="far")
    for _ in range(300):
        code.emit(seccomp.RETURN, 0)
    code.place("far")
    with pytest.raises(ValueError, match="0 to 255"):
        code.assemble()


@pytest.mark.parametrize(("machine", "column"), COLUMNS)
def test_the_numbers_are_the_kernels(machine: str, column: int) -> None:
    """The tables say what the kernel's own headers say, where those are installed."""
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in found}
    for table in (FORBIDDEN, MISSING, CONDITIONAL):
        for name, own in table.items():
            if name in numbers:
                assert own[column] == numbers[name], name
