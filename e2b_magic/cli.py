"""`e2b-magic serve|status|stop|doctor`: the embedded E2B server from a shell.

`serve` prints the variables that make any E2B SDK, Python or JavaScript, use the server, and serves until Ctrl-C. A
shell takes them from a server that goes on without it::

    eval "$(e2b-magic serve --detach)"
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import e2b_magic
from e2b_magic.config import from_environment
from e2b_magic.exceptions import ContainmentError, E2BMagicError, EmbeddedServerError

if TYPE_CHECKING:
    from e2b_magic.embedded.endpoint import Endpoint


def _directory() -> Path:
    # A key for E2B's cloud, or half of its settings, is no hindrance to a server of one's own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("E2B_") or "MAGIC" in name}
    return from_environment(kept).directory / "embedded"


def _serve(arguments: argparse.Namespace) -> int:
    from e2b_magic.embedded.runtime import DEFAULT_IDLE_TIMEOUT, ensure, status
    from e2b_magic.embedded.settings import SETTINGS, Settings

    given = {one.variable: text for one in SETTINGS if (text := getattr(arguments, one.field)) is not None}
    Settings.from_environment({**os.environ, **given})  # what makes no sense is said whether or not a server runs
    found = status(_directory())
    if given and found is not None:
        print("The server is running and keeps its settings: `e2b-magic stop` it to change them.", file=sys.stderr)
    endpoint = ensure(_directory(), idle_timeout=arguments.idle_timeout or DEFAULT_IDLE_TIMEOUT, settings=given)
    ours = found is None or found.pid != endpoint.pid
    _print_variables(endpoint)
    return 0 if arguments.detach else _serve_on(endpoint, ours=ours, keep=arguments.idle_timeout is None)


def _print_variables(endpoint: Endpoint) -> None:
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    variables = {
        "E2B_API_URL": endpoint.url,
        "E2B_SANDBOX_URL": endpoint.url,
        "E2B_API_KEY": endpoint.api_key,
        # The SDK's client would send even loopback traffic through a proxy.
        "NO_PROXY": no_proxy,
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)


def _serve_on(endpoint: Endpoint, *, ours: bool, keep: bool) -> int:
    from e2b_magic.embedded.foreground import wait_for, was_killed
    from e2b_magic.embedded.runtime import stop

    end = "Ctrl-C ends it and its sandboxes" if ours else "it was running before, and Ctrl-C leaves it running"
    # Not where the variables go: a shell may read those.
    print(f"Serving at {endpoint.url}: {end}; with --detach it needs no terminal.", file=sys.stderr)
    if wait_for(_directory(), endpoint, keep=keep):
        if ours:
            stop(_directory())
        return 0
    killed = was_killed(_directory(), endpoint)
    print(f"The embedded server {'was killed' if killed else 'has ended'}.", file=sys.stderr)
    return int(killed)


def _status(arguments: argparse.Namespace) -> int:
    from e2b_magic.embedded.runtime import status

    found = status(_directory())
    if found is None:
        print("The embedded server is not running: it starts when it is needed, or with `e2b-magic serve`.")
        return 1
    sandboxes = "1 sandbox" if found.sandboxes == 1 else f"{found.sandboxes} sandboxes"
    print(f"The embedded server (version {found.version}, process {found.pid}) serves {sandboxes} at {found.url}.")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    from e2b_magic.embedded.runtime import stop

    print("The embedded server has ended." if stop(_directory()) else "The embedded server was not running.")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    import asyncio

    if sys.platform != "linux":
        from e2b_magic.embedded.sandbox.causes import require_linux
        from e2b_magic.embedded.sandbox.host import Host

        require_linux(Host())
    from e2b_magic.embedded.directory import make_directory
    from e2b_magic.embedded.egress.doctor import way_out
    from e2b_magic.embedded.sandbox.doctor import contained, examine, no_place

    try:
        make_directory(_directory())
        findings = asyncio.run(examine(_directory() / "sandboxes"))
    except EmbeddedServerError as error:
        findings = [no_place(str(error))]
    findings.append(way_out(os.environ))
    if arguments.json:
        import json
        from dataclasses import asdict

        told = {"contained": contained(findings), "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(told, indent=2))
    else:
        for finding in findings:
            print(f"{finding.level:<5}{finding.subject:<16}{finding.found}")
            for name, text in (("so", finding.consequence), ("mend", finding.remedy)):
                if text:
                    print(f"{'':21}{name}: {text}")
    return 0 if contained(findings) else 1


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")


def _add_settings(serve: argparse.ArgumentParser) -> None:
    from e2b_magic.embedded.settings import SETTINGS

    group = serve.add_argument_group(
        "limits", "Or in the environment, as E2B_MAGIC_MEMORY and so on; `none` lifts one."
    )
    for one in SETTINGS:
        group.add_argument(one.flag, dest=one.field, metavar="VALUE", help=one.help)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2b-magic", description="The embedded E2B server of this machine.")
    parser.add_argument("--version", action="version", version=f"e2b-magic {e2b_magic.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="print what E2B's SDKs must know to use it, and serve until Ctrl-C")
    serve.add_argument("--detach", action="store_true", help="start it if need be, and return")
    serve.add_argument(
        "--idle-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="end it when unneeded for so long (900 with --detach; else only if given)",
    )
    _add_settings(serve)
    serve.set_defaults(run=_serve)
    commands.add_parser("status", help="say whether it runs").set_defaults(run=_status)
    commands.add_parser("stop", help="end it, and all its sandboxes but the paused").set_defaults(run=_stop)
    doctor = commands.add_parser("doctor", help="say whether and how this machine can contain a sandbox")
    doctor.add_argument("--json", action="store_true", help="say it for a program")
    doctor.set_defaults(run=_doctor)
    return parser


def _drop_output() -> None:
    """Drops what could not be printed: the interpreter would try it again at its end, and complain by itself."""
    if sys.stdout is None:  # closed from the beginning
        return
    try:
        sys.stdout.flush()
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, and gives the exit code.

    Args:
        arguments: The command line's; the process's own when left out.
    """
    parsed = _parser().parse_args(arguments)
    try:
        code = int(parsed.run(parsed))
        print(end="", flush=True)  # here, where a failure can be told
    except ContainmentError as error:
        print(f"e2b-magic: {error.cause}\n{error.remedy}".rstrip(), file=sys.stderr)
    except E2BMagicError as error:
        print(f"e2b-magic: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130  # as a shell has it: 128 and the signal's number
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # else whoever read has left, as `head` does
            print(f"e2b-magic: {error}", file=sys.stderr)
        _drop_output()
    else:
        return code
    return 1


if __name__ == "__main__":
    sys.exit(main())
