"""Why a machine cannot contain a sandbox, by the signs that known causes leave, and the ways out."""

from __future__ import annotations

import re

from e2b_magic.embedded.sandbox.host import Host
from e2b_magic.exceptions import ContainmentError

OTHERWISE = "Or set E2B_API_KEY to use E2B's cloud."
# What bubblewrap, and the C library in it, say when the kernel forbids something, or has no more of it.
_DENIED = re.compile("ermission denied|not permitted|No permissions")
_USED_UP = re.compile("No space left on device|ENOSPC")


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
    if not host.proc.is_dir() or not any(host.proc.iterdir()):
        # Bubblewrap looks there before all else, even before it tells its version.
        raise ContainmentError(
            "No /proc is mounted here, which sandboxes are made by.",
            f"Mount it: `mount -t proc proc /proc`. {OTHERWISE}",
        )


def no_bubblewrap() -> ContainmentError:
    """Gives the error of a machine without a bubblewrap that would do."""
    return ContainmentError(
        "bubblewrap (0.8 or newer) is not installed.", f"Install your system's `bubblewrap` package. {OTHERWISE}"
    )


def explain(complaint: str, host: Host, remedy: str = "") -> ContainmentError:
    """Gives the cause of a sandbox's not having started.

    Args:
        complaint: What was said of it.
        host: The machine.
        remedy: What whoever said it knows to do about it, for where no other cause is known.
    """
    denied = _DENIED.search(complaint) is not None
    return _switched_off(host, complaint) or (denied and _forbidden(host, complaint)) or _unknown(complaint, remedy)


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
    most = host.setting("user/max_user_namespaces")
    if most and _USED_UP.search(complaint):
        return ContainmentError(
            f"No further namespace can be made here ({complaint.rstrip('.')}).",
            f"End what holds them, or have the administrator raise `user.max_user_namespaces` (now {most}) and its "
            "neighbours below /proc/sys/user; within a sandbox that allows none (Flatpak, another bubblewrap), start "
            f"Jupyter outside of it. {OTHERWISE}",
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


def _unknown(complaint: str, remedy: str) -> ContainmentError:
    ways = f"{remedy} {OTHERWISE}" if remedy else "Set E2B_API_KEY to use E2B's cloud."
    return ContainmentError(complaint or "A sandbox could not be started.", ways)
