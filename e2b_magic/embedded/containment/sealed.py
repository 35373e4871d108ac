"""Contents on their way to bubblewrap: descriptors from which it reads its arguments, its filter and its files."""

from __future__ import annotations

import fcntl
import os


def sealed(name: str, contents: bytes) -> int:
    """Gives the descriptor of a memory file that holds these contents, at its start, and can be changed no more.

    Args:
        name: What `/proc` calls it, outside.
        contents: Its bytes.
    """
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", buffering=0, closefd=False) as file:
        file.write(contents)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
