"""The routes of templates: which there are, and why none can be built here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.containment.limits import MEBIBYTE
from e2b_magic.embedded.server.control.answers import rfc3339
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.envd import ENVD_VERSION
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.templates import Template, not_found

# E2B's ways to build a template, to change one, and to see how that goes (its OpenAPI file).
_BUILDING = (
    ("POST", "/templates"),
    ("POST", "/v2/templates"),
    ("POST", "/v3/templates"),
    ("POST", "/templates/{id}"),
    ("PATCH", "/templates/{id}"),
    ("PATCH", "/v2/templates/{id}"),
    ("POST", "/templates/{id}/builds/{build}"),
    ("POST", "/v2/templates/{id}/builds/{build}"),
    ("GET", "/templates/{id}/builds/{build}/status"),
    ("GET", "/templates/{id}/builds/{build}/logs"),
    ("GET", "/templates/{id}/files/{hash}"),
    ("POST", "/templates/tags"),
    ("DELETE", "/templates/tags"),
)


class TemplateRoutes(Routes):
    """What sandboxes are made from."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            *(route(method, path, self._no_building) for method, path in _BUILDING),
            route("GET", "/templates", self._list),
            route("GET", "/v2/templates", self._list),
            route("GET", "/templates/aliases/{alias}", self._alias),
            route("GET", "/templates/{id}/tags", self._tags),
            route("GET", "/templates/{id}", self._details),
        ]

    async def _no_building(self, request: Request) -> Response:
        raise ProtocolError(
            501,
            "the embedded server builds no templates: put a root file system into a directory and name it in "
            f"{self._sandboxes.templates.file}",
        )

    async def _list(self, request: Request) -> Response:
        return JSONResponse([self._description(template) for template in self._sandboxes.templates.all()])

    async def _alias(self, request: Request) -> Response:
        template = self._named(request.path_params["alias"])
        return JSONResponse({"templateID": template.name, "public": True})

    async def _tags(self, request: Request) -> Response:
        self._named(request.path_params["id"])
        return JSONResponse([])

    async def _details(self, request: Request) -> Response:
        template = self._named(request.path_params["id"])
        return JSONResponse({**_identity(template), "builds": []})

    def _named(self, name: str) -> Template:
        template = next((one for one in self._sandboxes.templates.all() if one.name == name), None)
        if template is None:
            raise not_found(name)
        return template

    def _description(self, template: Template) -> dict[str, Any]:
        limits = self._sandboxes.limits
        return {
            **_identity(template),
            # None was built, and there is no other number that says so.
            "buildID": "00000000-0000-0000-0000-000000000000",
            "buildStatus": "ready",
            "buildCount": 0,
            "cpuCount": limits.cpu_count,
            "memoryMB": limits.memory_total // MEBIBYTE,
            "diskSizeMB": (limits.disk_bytes or 0) // MEBIBYTE,
            "createdBy": None,
            "envdVersion": ENVD_VERSION,
        }


def _identity(template: Template) -> dict[str, Any]:
    """Gives the fields that both a list and the details tell."""
    changed = rfc3339(_changed(template.tree or Path("/usr")))
    return {
        "templateID": template.name,
        "public": True,
        "aliases": [template.name],
        "names": [template.name],
        "createdAt": changed,
        "updatedAt": changed,
        "lastSpawnedAt": None,
        "spawnCount": 0,
    }


def _changed(tree: Path) -> float:
    """Gives when a tree was last changed at its top; the epoch of one that is not there."""
    try:
        return tree.stat().st_mtime
    except OSError:
        return 0.0
