"""A small hub of our own on the loopback: it answers what the hub answers, and fails on request.

HEAD, GET /ORG/NAME/resolve/REVISION/FILE   a redirect to the second server (large files), or the file itself (small)
GET /lfs/HASH                               on the second server: the bytes, with ranges
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the servers hold, what goes wrong, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)  # "org/name/file" -> bytes
    small: set[str] = field(default_factory=set)  # those that are no LFS files
    cuts: list[int] = field(default_factory=list)  # absolute offsets: a body ends there, once each
    head_statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    body_statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    ignore_ranges: bool = False
    garble: bool = False
    hang: bool = False
    hang_head: bool = False
    pause: float = 0.0  # seconds between blocks of a body
    block: int = 1 << 16
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[dict[str, str]] = field(default_factory=list)  # headers of the requests for bytes
    servers: list[ThreadingHTTPServer] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for _ in range(2):
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
            server.daemon_threads = True
            self.servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self.servers[1].server_port}"

    def put(self, name: str, data: bytes, *, small: bool = False) -> str:
        """Add a file; returns its sha256."""
        self.files[name] = data
        if small:
            self.small.add(name)
        return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def _answer(self, *, send_body: bool) -> None:
        hub = self.hub
        self.close_connection = True
        hub.log.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
        if hub.hang_head and not send_body:
            hub.stopping.wait(30)
            return
        if self.path.startswith("/lfs/"):
            digest = self.path.removeprefix("/lfs/")
            data = next(d for d in hub.files.values() if hashlib.sha256(d).hexdigest() == digest)
            self._body(data, {"ETag": '"of-the-store"'})
            return
        statuses = hub.body_statuses if send_body else hub.head_statuses
        if not send_body and statuses:
            self._plain(*statuses.pop(0))
            return
        org, name, _, _, *rest = self.path.strip("/").split("/")
        key = "/".join([org, name, *rest])
        if key not in hub.files:
            self._plain(404, {"X-Error-Code": "EntryNotFound"})
            return
        data = hub.files[key]
        headers = {"X-Repo-Commit": COMMIT}
        if key in hub.small:
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if send_body:
                self._body(data, {**headers, "ETag": f'"{git}"'})
            else:
                self._plain(200, {**headers, "ETag": f'"{git}"', "Content-Length": str(len(data))})
            return
        digest = hashlib.sha256(data).hexdigest()
        self._plain(
            302,
            {
                **headers,
                "ETag": '"of-the-hub"',
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"{hub.cdn}/lfs/{digest}",
            },
        )

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, data: bytes, headers: dict[str, str]) -> None:
        hub = self.hub
        hub.bodies.append({key.lower(): value for key, value in self.headers.items()})
        if hub.body_statuses:
            self._plain(*hub.body_statuses.pop(0))
            return
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted and not hub.ignore_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
                return
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if hub.garble:
            data = bytes([data[0] ^ 1]) + data[1:-1] + bytes([data[-1] ^ 1])
        end = min([cut for cut in hub.cuts if cut > start], default=len(data))
        if end in hub.cuts:
            hub.cuts.remove(end)
        if hub.hang:
            self.wfile.write(data[start : start + 10])
            self.wfile.flush()
            hub.stopping.wait(30)
            return
        try:
            for at in range(start, end, hub.block):
                self.wfile.write(data[at : min(at + hub.block, end)])
                self.wfile.flush()
                if hub.pause:
                    time.sleep(hub.pause)
        except OSError:
            pass  # the other side was killed
