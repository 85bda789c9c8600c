"""A real HTTP server on loopback that misbehaves on demand: cuts, lies, redirects, ignores ranges.

Serves `files` by path. What it does with a request is decided by `misbehave`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What is served, how, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Callable[[str], tuple[int, dict[str, str], bytes]]] = field(
        default_factory=dict
    )
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Sent with a file beside the usual ones."""
    ranges: bool = True
    tags: bool = True
    length: bool = True
    cut: Callable[[int], int | None] = lambda length: None
    """Bytes of a body after which the line is cut; None = all are sent."""
    redirects: dict[str, str] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    """Codes that are answered first, before the file."""


@contextlib.contextmanager
def serving() -> Iterator[Loopback]:
    state = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.asked.append((self.command, self.path, self.headers.get("Range")))
            if codes := state.status.get(path):
                return self._send(codes.pop(0), {}, b"busy")
            if path in state.redirects:
                return self._send(302, {"Location": state.redirects[path]}, b"")
            if path in state.answers:
                return self._send(*state.answers[path](self.path))
            if path not in state.files:
                return self._send(404, {}, b"nothing here")
            return self._send_file(state.files[path], self.headers, state.headers.get(path, {}))

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            state.asked.append(("POST", self.path, None))
            if path not in state.answers:
                return self._send(404, {}, b"{}")
            return self._send(*state.answers[path](body.decode("utf-8", "replace")))

        def _send_file(self, content: bytes, asked: Message, more: dict[str, str]) -> None:
            tag = f'"{hash(content) & 0xFFFFFFFF:x}"'
            headers = ({"ETag": tag} if state.tags else {}) | more
            found = re.fullmatch(r"bytes=(\d+)-", asked.get("Range", ""))
            same = asked.get("If-Range") in (None, tag)
            if found and state.ranges and same:
                start = int(found[1])
                if start >= len(content):
                    return self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self._send(206, headers, content[start:])
            return self._send(200, headers, content)

        def _send(self, code: int, headers: dict[str, str], body: bytes) -> None:
            with contextlib.suppress(ConnectionError):
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                if state.length or code not in (200, 206):
                    self.send_header("Content-Length", str(len(body)))
                else:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                if self.command == "HEAD":
                    return
                stop = state.cut(len(body)) if code in (200, 206) else None
                self.wfile.write(body if stop is None else body[:stop])
                if stop is not None:
                    self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
