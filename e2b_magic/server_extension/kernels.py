"""What a kernel is given to find the worker with: an address and a token, in its environment.

Jupyter has no hook for that, so the kernel manager's `start_kernel` is wrapped, on the one object that the server
uses. The server's own environment would reach its kernels too, but also its terminals, and would give all users one
token.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from jupyter_server.auth import User
from jupyter_server.base.call_context import CallContext
from jupyter_server.utils import ensure_async

Variables = Callable[[User | None], dict[str, str]]


def equip_kernels(manager: Any, variables: Variables) -> None:
    """Lets every kernel that a manager starts from here on find more variables in its environment.

    Args:
        manager: The server's kernel manager.
        variables: Gives them for the user who starts the kernel; for None, when no request of a user's does.
    """
    start = manager.start_kernel

    @functools.wraps(start)
    async def start_kernel(**options: Any) -> Any:
        inherited = options.pop("env", None)
        environment = {**(os.environ if inherited is None else inherited), **variables(_starting_user())}
        return await ensure_async(start(env=environment, **options))

    manager.start_kernel = start_kernel


def _starting_user() -> User | None:
    handler = CallContext.get(CallContext.JUPYTER_HANDLER)
    user: User | None = getattr(handler, "current_user", None)
    return user
