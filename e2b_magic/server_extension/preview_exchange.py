"""One request for a preview's page and its answer: on to the port in the sandbox, and back as it comes."""

from __future__ import annotations

import asyncio
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from tornado import web

from e2b_magic.sandboxes.ports import PortAddress
from e2b_magic.server_extension.preview_headers import to_browser, to_sandbox
from e2b_magic.server_extension.preview_place import Place

CONNECT_TIMEOUT = 10
"""How long a sandbox's host may take to be reached, in seconds; its server may take as long as it likes."""


def new_client() -> httpx.AsyncClient:
    """Gives what asks the servers in sandboxes; it keeps no cookie, since one user's would go to another's server."""
    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        verify=ssl.create_default_context(),
        # Not through a proxy from the environment: the embedded server is on this machine.
        mounts={"all://127.0.0.1": httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))},
    )


_SAFE = ("GET", "HEAD")
"""Methods that ask and do nothing, so that a request may be sent again elsewhere (RFC 9110, section 9.2.1)."""


class Exchange:
    """A browser's request, handed on.

    Args:
        browser: The browser's side, which has not been answered yet.
        client: What to ask with.
        address: Where the port is reached.
        place: What is asked for.
    """

    def __init__(
        self, browser: web.RequestHandler, client: httpx.AsyncClient, address: PortAddress, place: Place
    ) -> None:
        self._browser = browser
        self._client = client
        self._address = address
        self._place = place
        self._begun = False
        self._running: asyncio.Task[None] | None = None

    async def run(self, body: bytes) -> None:
        """Hands the request on, and its answer back.

        Args:
            body: The request's.

        Raises:
            HTTPError: 502, what came back is no answer in HTTP, or leads out of the preview.
        """
        # In a task, for the browser's leaving to cancel.
        self._running = asyncio.create_task(self._exchange(body))
        try:
            await self._running
        except asyncio.CancelledError:
            if not self._running.cancelled():
                raise
        except (httpx.HTTPError, httpx.InvalidURL):
            if not self._begun:
                raise web.HTTPError(502, "The server in the sandbox did not answer in HTTP") from None
            # Half an answer is out; a broken connection is the one sign left that it will not be whole.
            self._browser.request.connection.stream.close()  # type: ignore[union-attr]  # tornado's connections have one

    def leave(self) -> None:
        """Ends what is under way, for a browser that has left."""
        if self._running is not None:
            self._running.cancel()

    async def _exchange(self, body: bytes) -> None:
        response = await self._ask(body)
        try:
            # Other methods are not sent twice: a redirect may be the answer to what was done.
            if self._browser.request.method in _SAFE and self._place.found_elsewhere(
                response.status_code, response.headers.get("Location")
            ):
                await response.aclose()
                response = await self._ask(body)
            await self._answer_with(response)
        finally:
            await response.aclose()
        self._browser.finish()

    async def _ask(self, body: bytes) -> httpx.Response:
        asked = self._browser.request
        headers = [*to_sandbox(asked.headers.get_all()), *self._address.headers.items()]
        if "accept-encoding" not in dict(headers):
            headers.append(("accept-encoding", "identity"))  # else httpx would ask for what the browser did not
        url = httpx.URL(self._address.url).copy_with(raw_path=self._place.path.encode("latin-1"))
        request = self._client.build_request(str(asked.method), url, headers=headers, content=body or None)
        return await self._client.send(request, stream=True)

    async def _answer_with(self, response: httpx.Response) -> None:
        browser = self._browser
        browser.set_status(response.status_code)
        browser.clear_header("Content-Type")
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
        for name, value in to_browser(given):
            browser.add_header(name, value)
        if (location := response.headers.get("Location")) is not None:
            self._move(location)
        self._begun = True
        await browser.flush()
        async for chunk in response.aiter_raw():
            browser.write(chunk)
            await browser.flush()

    def _move(self, location: str) -> None:
        target = self._place.moved(location, self._address.url)
        if target is None:
            raise web.HTTPError(502, "The server in the sandbox redirects to somewhere else, which a preview may not")
        self._browser.set_header("Location", target)
