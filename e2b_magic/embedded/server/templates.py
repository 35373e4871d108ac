"""The templates that sandboxes are made from: `base`, which is this machine's own system, and those in a file.

::

    # templates.toml
    [templates.debian]
    path = "/srv/debian-12"

The file is read whenever a template other than `base` is asked for, so that a change needs no new server.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_config_path

from e2b_magic.embedded.containment.tree import require_usable
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.exceptions import ConfigurationError

BASE = "base"
FILE = "templates.toml"
VARIABLE = "E2B_MAGIC_TEMPLATES"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template.

    Attributes:
        name: Its name, which is its id too.
        tree: The root file system that sandboxes get; None for this machine's own.
    """

    name: str
    tree: Path | None = None


class Templates:
    """The templates there are.

    Args:
        file: Where they are described; it need not be there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Templates:
        """Gives those of `E2B_MAGIC_TEMPLATES`, or of `templates.toml` in the user's configuration directory."""
        chosen = environment.get(VARIABLE)
        return cls(Path(chosen).expanduser() if chosen else user_config_path("e2b-magic", appauthor=False) / FILE)

    def find(self, name: str) -> Template:
        """Gives the template of a name, ready to be used.

        Raises:
            ProtocolError: There is none of that name; or there is, and it cannot be used, and why.
        """
        if name == BASE:
            return Template(BASE)
        template = next((one for one in self.all() if one.name == name), None)
        if template is None or template.tree is None:
            raise not_found(name)
        try:
            require_usable(template.tree)
        except ConfigurationError as error:
            raise ProtocolError(400, f"template '{name}' cannot be used: {error}") from error
        return template

    def all(self) -> list[Template]:
        """Gives every template, `base` first.

        Raises:
            ProtocolError: The file makes no sense: where, and what would.
        """
        return [Template(BASE), *[self._read(name, entry) for name, entry in sorted(self._entries().items())]]

    def _entries(self) -> Mapping[str, object]:
        try:
            described = tomllib.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:  # TOML's own errors, and those of text, are ValueErrors
            raise self._wrong(str(error)) from error
        entries = described.get("templates", {})
        if described.keys() - {"templates"} or not isinstance(entries, dict):
            raise self._wrong("it holds tables [templates.<name>] and nothing else")
        return entries

    def _read(self, name: str, entry: object) -> Template:
        if not _NAME.fullmatch(name) or name == BASE:
            raise self._wrong(f"{name!r} cannot be a name: small letters, digits, - and _, and not {BASE!r}")
        if not isinstance(entry, dict) or entry.keys() != {"path"} or not isinstance(entry["path"], str):
            raise self._wrong(f'[templates.{name}] must hold path = "/a/directory" and nothing else')
        path = Path(entry["path"]).expanduser()
        if not path.is_absolute() or path.resolve() == Path("/"):
            raise self._wrong(f"the path of {name!r} must be absolute, and not / itself")
        return Template(name, path.resolve())

    def _wrong(self, what: str) -> ProtocolError:
        return ProtocolError(400, f"{self.file} cannot be understood: {what}")


def not_found(name: str) -> ProtocolError:
    """Gives E2B's answer for a template that is not there."""
    return ProtocolError(404, f"template '{name}' not found")
