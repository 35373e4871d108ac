"""Why a machine cannot contain a sandbox, by the signs that known causes leave, and the ways out."""

from __future__ import annotations

import re

from e2b_magic.embedded.sandbox.host import Host
from e2b_magic.exceptions import ContainmentError

OTHERWISE = "Or set E2B_API_KEY to use E2B's cloud."
# What bubblewrap, and the C library in it, say when the kernel forbids something.
_DENIED = re.compile("ermission denied|not permitted|No permissions")


def require_linux(host: Host) -> None:
    """Lets a machine pass whose kernel has namespaces.

    Raises:
        ContainmentError: It is another system, or WSL 1, which looks like Linux and is none.
    """
    if host.system != "linux":
        raise ContainmentError(
            f"Sandboxes on this machine need Linux; this is {host.system_name}.",
            "Set E2B_API_KEY to use E2B's cloud, or run Jupyter in a Linux virtual machine (on Windows, WSL 2).",
        )
    if host.release.endswith("-Microsoft"):
        raise ContainmentError(
            "WSL 1 has no namespaces to contain a sandbox with.",
            f"Convert it: `wsl --set-version <name> 2`. {OTHERWISE}",
        )


def no_bubblewrap() -> ContainmentError:
    """Gives the error of a machine without a bubblewrap that would do."""
    return ContainmentError(
        "bubblewrap (0.8 or newer) is not installed.", f"Install your system's `bubblewrap` package. {OTHERWISE}"
    )


def explain(complaint: str, host: Host) -> ContainmentError:
    """Gives the cause of a sandbox's not having started.

    Args:
        complaint: What was said of it.
        host: The machine.
    """
    denied = _DENIED.search(complaint) is not None
    return _switched_off(host, complaint) or (denied and _forbidden(host, complaint)) or _unknown(complaint)


def _switched_off(host: Host, complaint: str) -> ContainmentError | None:
    if host.setting("user/max_user_namespaces") == "0":
        return ContainmentError(
            "User namespaces are switched off on this machine.",
            f"Have its administrator set `sysctl user.max_user_namespaces=15000`. {OTHERWISE}",
        )
    if host.setting("kernel/unprivileged_userns_clone") == "0" and host.uid != 0:
        return ContainmentError(
            "User namespaces are for root only on this machine.",
            f"Have its administrator set `sysctl kernel.unprivileged_userns_clone=1`. {OTHERWISE}",
        )
    if "No space left on device" in complaint and host.setting("user/max_user_namespaces"):
        most = host.setting("user/max_user_namespaces")
        return ContainmentError(
            f"No further namespace can be made on this machine ({complaint.rstrip('.')}).",
            f"End what holds them, or have its administrator raise `user.max_user_namespaces` (now {most}) and "
            f"its neighbours below /proc/sys/user. {OTHERWISE}",
        )
    return None


def _forbidden(host: Host, complaint: str) -> ContainmentError | None:
    if host.setting("kernel/apparmor_restrict_unprivileged_userns") == "1" and not host.in_container:
        return ContainmentError(
            "AppArmor forbids unprivileged user namespaces on this machine (Ubuntu's rule since 23.10).",
            "Install the system's bubblewrap with its profile (`apt install bubblewrap apparmor-profiles`, "
            f"then load `bwrap-userns-restrict`). {OTHERWISE}",
        )
    if host.in_container:
        return ContainmentError(
            f"The container that this runs in forbids namespaces ({complaint.rstrip('.')}).",
            "Start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            f"--security-opt systempaths=unconfined`, or with `--privileged`. {OTHERWISE}",
        )
    if host.filtered:
        return ContainmentError(
            f"A filter of system calls (seccomp) that this runs under forbids namespaces ({complaint.rstrip('.')}).",
            "Start Jupyter without it: a container's `seccomp=unconfined`, a service's "
            f"`RestrictNamespaces=no` and no `SystemCallFilter=`. {OTHERWISE}",
        )
    return None


def _unknown(complaint: str) -> ContainmentError:
    return ContainmentError(complaint or "A sandbox could not be started.", OTHERWISE)
