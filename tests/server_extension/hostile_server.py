"""A dev server as a sandbox may run one: it echoes, moves, sets cookies, speaks WebSocket, and means no good."""

import base64
import hashlib
import json
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html><title>hostile</title><link rel="stylesheet" href="style.css"><p id="styled">page</p>
<script type="module" src="module.js"></script>
<script>
const report = {origin: self.origin, styled: false, module: false};
const tried = async (name, action) => {
  try { report[name] = String(await action()); } catch (error) { report[name] = "refused: " + error.name; }
};
addEventListener("load", async () => {
  const jupyter = location.href.replace(/e2b-magic.*/, "");
  await tried("cookie", () => document.cookie);
  await tried("storage", () => localStorage.length);
  await tried("contents", async () => (await fetch(jupyter + "api/contents")).status);
  await tried("with cookies", async () => (await fetch(jupyter + "api/contents", {credentials: "include"})).status);
  await tried("kernels", async () => (await fetch(jupyter + "api/kernels", {method: "POST", mode: "no-cors",
    credentials: "include", body: "{}"})).status);
  await tried("worker", async () => (await fetch(jupyter + "e2b-magic/health", {credentials: "include"})).status);
  await tried("parent", () => parent.document.title);
  await tried("top", () => { if (top !== self) top.location = "about:blank#gone"; return "set"; });
  await tried("service worker", () => navigator.serviceWorker.register("module.js"));
  await tried("popup", () => open("about:blank") === null ? "none" : "opened");
  await tried("socket to jupyter", () => new Promise((done, failed) => {
    const socket = new WebSocket(jupyter.replace("http", "ws") + "api/events/subscribe");
    socket.onopen = () => done("open"); socket.onerror = () => failed(new TypeError());
  }));
  await tried("own data", async () => (await (await fetch("data.json")).json()).answer);
  await tried("own post", async () => (await (await fetch("echo", {method: "POST", body: "{}",
    headers: {"Content-Type": "application/json"}})).json()).method);
  await tried("own socket", () => new Promise((done, failed) => {
    const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
    socket.onopen = () => socket.send("hello"); socket.onerror = () => failed(new TypeError());
    socket.onmessage = (event) => done(event.data);
  }));
  report.styled = getComputedStyle(document.getElementById("styled")).color === "rgb(1, 2, 3)";
  const element = document.createElement("pre");
  element.id = "report"; element.textContent = JSON.stringify(report);
  document.body.append(element);
});
window.loaded = () => { report.module = true; };
</script>
"""
KINDS = {
    "/style.css": ("text/css", "p { color: rgb(1, 2, 3) }"),
    "/module.js": ("text/javascript", "window.loaded();"),
    "/data.json": ("application/json", '{"answer": 42}'),
}


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answers any request."""
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/socket":
            return self.socket()
        if path == "/move":
            return self.send(302, "text/plain", "", {"Location": query})
        if path == "/slow":
            return self.slow()
        if path == "/big":
            return self.send(200, "application/octet-stream", "x" * 20_000_000, {})
        if path in KINDS:
            return self.send(200, *KINDS[path], {})
        if path == "/":
            return self.send(200, "text/html", PAGE, {})
        told = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        return self.send(200, "application/json", json.dumps(told), EVIL)

    def send(self, status: int, kind: str, text: str, headers: dict[str, str]) -> None:
        """Sends an answer."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def slow(self) -> None:
        """Sends an event now and one a good while later."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        time.sleep(2)
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def socket(self) -> None:
        """Shakes hands, tells the headers it was asked with, and echoes until it is told to close."""
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        if offered := self.headers.get("Sec-WebSocket-Protocol"):
            self.send_header("Sec-WebSocket-Protocol", offered.split(",")[-1].strip())
        self.end_headers()
        while True:
            first, second = self.rfile.read(2)
            size = second & 127
            if size == 126:
                (size,) = struct.unpack("!H", self.rfile.read(2))
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(size)))
            if first & 15 == 8:
                self.frame(8, data)
                break
            if data == b"headers":
                data = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
            if data == b"leave":
                self.frame(8, struct.pack("!H", 4001) + b"had enough")
                break
            self.frame(first & 15, data)
        self.close_connection = True

    def frame(self, kind: int, data: bytes) -> None:
        """Sends one frame."""
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack("!H", len(data))
        self.wfile.write(bytes([128 | kind]) + size + data)
        self.wfile.flush()


EVIL = {
    "Set-Cookie": "session=evil; Path=/",
    "Service-Worker-Allowed": "/",
    "Clear-Site-Data": '"*"',
    "Access-Control-Allow-Origin": "https://evil.example",
    "Access-Control-Allow-Credentials": "true",
    "Content-Security-Policy": "sandbox allow-scripts allow-same-origin allow-forms",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Frame-Options": "DENY",
    "Refresh": "0; url=/api",
    "X-Custom": "kept",
}

for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{method}", Handler.answer)

if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
