"""The client: what magics, panels and scripts talk to.

A `Client` belongs to one session. It answers from the store when it can; otherwise it sends a request to its caller,
on the one event loop that `background` keeps in a thread of its own, and stores what comes back. A kernel has one
client, which `shared_client` gives.
"""

from e2b_magic.client.client import Client
from e2b_magic.client.shared import choose_project, choose_template, current_client, set_shared_client, shared_client

__all__ = ["Client", "choose_project", "choose_template", "current_client", "set_shared_client", "shared_client"]
