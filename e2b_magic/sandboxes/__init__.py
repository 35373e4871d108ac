"""The sandboxes themselves, by way of the E2B SDK: nothing outside this package imports `e2b`.

`Connection` says which E2B is meant. The `SandboxManager` keeps one sandbox a project and hands out a `Lease` on it.
`commands` runs a command on a lease, `files` reads and writes there. `sdk_errors` turns whatever the SDK raises into
the errors of `e2b_magic.exceptions`. Importing this package imports the SDK, which takes half a second: whoever
needs a sandbox imports it, and nobody earlier.
"""

from e2b_magic.sandboxes.connection import Connection
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager

__all__ = ["Connection", "Lease", "SandboxManager"]
