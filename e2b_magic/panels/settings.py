"""The *Settings* tab: which project, which E2B, what is cached."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from ipywidgets import HTML, Combobox

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, Closed
from e2b_magic.config import EMBEDDED, ApiKey
from e2b_magic.exceptions import E2BMagicError, InvalidRequestError
from e2b_magic.panels.controls import FITTING, button, line
from e2b_magic.panels.fields import SecretField, on_enter
from e2b_magic.panels.view import Refresh, View
from e2b_magic.quantities import counted, size


class SettingsPanel(View):
    """Chooses the project and the backend, and clears the cache.

    Args:
        client: Whose settings to show; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self._key: ApiKey | None = None
        self._project = self.client.project
        self._refresh = Refresh(self, self._load, pause=0.3)
        self.project = Combobox(value=self._project, description="Project", continuous_update=False, style=FITTING)
        self.use_button = self._button("Use", "Make it the current project: each has a sandbox of its own", self.use)
        self.cache = HTML()
        self.clear_button = self._button("Clear cache", "Forget every cached result; the history stays", self._clear)
        self.backend = HTML()
        self.key = SecretField(
            self._take_key, description="E2B API key", placeholder="kept in memory only", style=FITTING
        )
        self.login_button = self._button("Log in", "Use E2B's cloud from here on", self.login)
        self.logout_button = self._button("Log out", "Forget the key, and use the embedded server", self._logout)
        on_enter(self.project, self.use)
        self.show(
            line(self.project, self.use_button),
            line(self.backend),
            line(self.key, self.login_button, self.logout_button),
            line(self.cache, self.clear_button),
        )
        self._refresh.ask()

    def _button(self, name: str, tooltip: str, act: Callable[[], None]) -> Any:
        return button(name, tooltip, lambda: self._attempt(act))

    def _attempt(self, act: Callable[[], None]) -> None:
        self.message.clear()
        try:
            act()
        except E2BMagicError as error:
            self.message.fail(error)

    def use(self) -> None:
        """Makes the project that the field names the current one."""
        self._attempt(lambda: self.message.say(f"The current project is {self._chosen()}"))

    def _chosen(self) -> str:
        self._project = self.client.use_project(self.project.value.strip()).name
        return self._project

    def _take_key(self, text: str) -> None:
        self._key = None
        self._attempt(lambda: self._hold(text))

    def _hold(self, text: str) -> None:
        self._key = ApiKey(text)
        self.message.say("The key is held in memory: Log in uses it")

    def login(self) -> None:
        """Goes on with the key that was entered."""
        key, self._key = self._key, None
        if key is None:
            raise InvalidRequestError("Enter the E2B API key first, then Log in")
        # Here, in the kernel's thread: the client's own loop is ended by it, and begun anew.
        self.client.login(key.reveal())
        self.message.say(f"From here on sandboxes are on {self.client.configuration.backend}")

    def _logout(self) -> None:
        self.client.logout()
        self.message.say("Forgot the key and every cached result; from here on sandboxes are on this machine")

    def _clear(self) -> None:
        self.message.say(f"Forgot {counted(self.client.clear_cache(), 'cached result')}")

    def changed(self, change: Change) -> None:
        """Keeps in step with whatever changes them."""
        if not isinstance(change, Closed):
            self._refresh.ask()

    async def _load(self) -> None:
        projects = await self.aside(self.client.get_projects)
        cache = await self.aside(self.client.get_cache_info)
        self.project.options = [project.name for project in projects]
        if self._project != self.client.project:  # else a name that was typed, and is not used yet, would go
            self._project = self.project.value = self.client.project
        backend = self.client.configuration.backend
        where = "the embedded server, on this machine" if backend == EMBEDDED else backend
        self.backend.value = f"Sandboxes are on <strong>{html.escape(where)}</strong>"
        self.logout_button.disabled = self.client.configuration.api_key is None
        self.cache.value = (
            f"{counted(cache.entries, 'result')} cached, {counted(cache.hits, 'hit')}; the store takes "
            f"{size(cache.bytes)} of {size(cache.space)}"
        )
        self.clear_button.disabled = not cache.entries
