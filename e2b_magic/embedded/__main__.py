"""`python -m e2b_magic.embedded DIRECTORY`: what `runtime.ensure` starts.

The process forks at once and ends, so that the server belongs to nobody who would have to wait for it. How the start
went is written as one line of JSON to the descriptor that `--report` names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from e2b_magic.exceptions import ConfigurationError, ContainmentError, EmbeddedServerError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2b_magic.embedded", description="The embedded E2B server")
    parser.add_argument("directory", type=Path, help="where its runtime file and its sandboxes' files lie")
    parser.add_argument("--idle-timeout", type=float, required=True, help="seconds unneeded after which it ends")
    parser.add_argument("--report", type=int, required=True, help="the descriptor to report the start to")
    return parser.parse_args()


def _reporter(descriptor: int) -> Callable[..., None]:
    def report(**outcome: str) -> None:
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(outcome) + "\n")

    return report


def _serve(arguments: argparse.Namespace) -> None:
    report = _reporter(arguments.report)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        from e2b_magic.embedded.settings import Settings

        # Before what takes long to load: what cannot be meant is said at once.
        settings = Settings.from_environment(os.environ)
        from e2b_magic.embedded.server.services import load_services

        load_services()
        from e2b_magic.embedded.server.daemon import serve

        asyncio.run(serve(arguments.directory, arguments.idle_timeout, settings, lambda: report(state="ready")))
    except ContainmentError as error:
        report(cause=error.cause, remedy=error.remedy)
    except (ConfigurationError, EmbeddedServerError) as error:
        report(error=str(error))
    except Exception as error:
        report(error=f"{type(error).__name__}: {error}")
        raise


def main() -> None:
    """Starts the server in a process of its own, and returns."""
    arguments = _arguments()
    # Whatever the starter's is: sandboxes run as another user where the server is root's, and must reach what is
    # made for them. What nobody else may read is made so by name.
    os.umask(0o022)
    if os.fork():
        return
    _serve(arguments)


if __name__ == "__main__":
    main()
