"""The sandbox as something to look at: panels made of core ipywidgets, over one client.

`Panel` holds the tabs, and each tab stands alone too: `RunPanel`, `FilesPanel`, `HistoryPanel`, `ServerPanel`,
`SandboxPanel`, `SettingsPanel`, all of them a `View`. A panel has no state of its own worth keeping and does no I/O:
it asks the client, on the client's loop, and shows what the client announces, so panels and magics are in step.
"""

from e2b_magic.panels.files import FilesPanel
from e2b_magic.panels.history import HistoryPanel
from e2b_magic.panels.panel import TABS, Panel
from e2b_magic.panels.run import RunPanel
from e2b_magic.panels.sandbox import SandboxPanel
from e2b_magic.panels.server import ServerPanel
from e2b_magic.panels.settings import SettingsPanel

__all__ = ["TABS", "FilesPanel", "HistoryPanel", "Panel", "RunPanel", "SandboxPanel", "ServerPanel", "SettingsPanel"]
