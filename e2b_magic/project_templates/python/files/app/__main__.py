"""Serves the greeting: `python3 -m app` listens on the port that PORT names."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from app import greeting


class Handler(BaseHTTPRequestHandler):
    """Answers every path with a greeting; `?name=` says whom to greet."""

    def do_GET(self):
        """Answers a request."""
        name = parse_qs(urlsplit(self.path).query).get("name", ["world"])[0]
        body = greeting(name).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(os.environ.get("PORT", "8000"))
print(f"Listening on port {port}")
ThreadingHTTPServer(("", port), Handler).serve_forever()
