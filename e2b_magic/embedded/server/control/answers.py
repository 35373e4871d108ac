"""What the control routes tell about a sandbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.embedded.server.egress_proxy import without_secrets
from e2b_magic.embedded.server.envd import ENVD_VERSION
from e2b_magic.embedded.server.record import Record

# Names the one machine that all sandboxes of this server run on; E2B's clients only hand it back.
_CLIENT_ID = "embedded"


def rfc3339(seconds: float) -> str:
    """Gives a time as E2B writes it.

    Args:
        seconds: Since the epoch.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def identity(sandbox: Record) -> dict[str, Any]:
    """Gives the fields that every answer about a sandbox begins with."""
    return {
        "sandboxID": sandbox.id,
        "templateID": sandbox.creation.template,
        "alias": sandbox.creation.template,
        "clientID": _CLIENT_ID,
        "envdVersion": ENVD_VERSION,
    }


def access(sandbox: Record) -> dict[str, Any]:
    """Gives what the creator of a sandbox is told, and who connects to it."""
    return {
        **identity(sandbox),
        "envdAccessToken": sandbox.token,
        "trafficAccessToken": None if sandbox.public else sandbox.traffic_token,
        "domain": None,
    }


def description(sandbox: Record, limits: Limits) -> dict[str, Any]:
    """Gives a sandbox's entry in a list."""
    return {
        **identity(sandbox),
        "startedAt": rfc3339(sandbox.started_at),
        "endAt": rfc3339(sandbox.ends_at),
        "state": sandbox.state,
        "metadata": dict(sandbox.creation.metadata),
        "cpuCount": limits.cpu_count,
        "memoryMB": limits.memory_total // MEBIBYTE,
        "diskSizeMB": (limits.disk_bytes or 0) // MEBIBYTE,
    }


def details(sandbox: Record, limits: Limits) -> dict[str, Any]:
    """Gives all that is told of one sandbox."""
    further: dict[str, Any] = {
        "envdAccessToken": sandbox.token,
        "allowInternetAccess": sandbox.creation.allow_internet_access,
        "lifecycle": {
            "autoResume": sandbox.creation.auto_resume,
            "onTimeout": "pause" if sandbox.creation.auto_pause else "kill",
        },
        "domain": None,
    }
    if sandbox.pause_mode is not None:
        further["pauseMode"] = sandbox.pause_mode
    if sandbox.creation.network is not None:
        further["network"] = without_secrets(sandbox.creation.network)
    return {**description(sandbox, limits), **further}
