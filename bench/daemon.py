"""A fast stand-in for a docker engine: `python -m bench.daemon SOCKET`.

It prints "ready SOCKET" when it listens; SIGTERM ends it. It answers the requests of the proxy's
benchmarks, and reports removed containers in its events:

- `POST /exec/x/start` hijacks the connection. The first 8 bytes are the number of bytes that it
  then sends. After 0 it reads all data, and sends their number.
- `POST /containers/create`, `DELETE /containers/ID`, `GET /events`; the response to all else is
  `{}`.
"""

from __future__ import annotations

import json
import queue
import re
import secrets
import signal
import socketserver
import sys
import threading
from typing import Any

PIECE = 256 * 1024
NUMBER = 8
"""Bytes of a number in a stream, in big-endian order."""
_VERSION = re.compile(r"^/v[\d.]+(?=/)")
_ZEROS = memoryview(bytes(PIECE))
_HIJACKED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def send_zeros(sock: Any, size: int) -> None:
    """Send `size` bytes."""
    while size:
        piece = min(size, PIECE)
        sock.sendall(_ZEROS[:piece])
        size -= piece


def read(sock: Any, size: int | None = None) -> int:
    """Read `size` bytes, or all until the end; return how many came."""
    buffer, total = memoryview(bytearray(PIECE)), 0
    while size is None or total < size:
        count = sock.recv_into(buffer)
        if not count:
            break
        total += count
    return total


class _Connection(socketserver.StreamRequestHandler):
    """The requests of one client."""

    server: _Engine
    disable_nagle_algorithm = False

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        while line := self.rfile.readline():
            method, target, _ = line.decode().split(" ", 2)
            path = _VERSION.sub("", target)
            length = 0
            while (field := self.rfile.readline().strip().lower()) != b"":
                if field.startswith(b"content-length:"):
                    length = int(field.partition(b":")[2])
            self.rfile.read(length)
            if path.startswith("/exec/"):
                self._stream()
                return
            if path.startswith("/events"):
                self._send_events()
                return
            self._answer(method, path)

    def _answer(self, method: str, path: str) -> None:
        status, body = b"200 OK", b"{}"
        if path.startswith("/containers/create"):
            status = b"201 Created"
            body = json.dumps({"Id": secrets.token_hex(32), "Warnings": []}).encode()
        elif method == "DELETE":
            self.server.report_removed(path.rpartition("/")[2].partition("?")[0])
            status, body = b"204 No Content", b""
        elif path in ("/networks", "/containers/json?all=1"):
            body = b"[]"
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n" % status
        if body:
            head += b"Content-Length: %d\r\n" % len(body)
        self.wfile.write(head + b"\r\n" + body)

    def _stream(self) -> None:
        self.wfile.write(_HIJACKED)
        size = int.from_bytes(self.rfile.read(NUMBER), "big")
        if size:
            send_zeros(self.connection, size)
        else:
            early = len(self.rfile.read1(PIECE)) if self.rfile.peek(1) else 0
            self.wfile.write((early + read(self.connection)).to_bytes(NUMBER, "big"))

    def _send_events(self) -> None:
        removed: queue.Queue[str] = queue.Queue()
        self.server.listeners.append(removed)
        self.wfile.write(_STREAM)
        while True:
            container = removed.get()
            for action in ("die", "destroy"):
                event = {"Type": "container", "Action": action, "Actor": {"ID": container}}
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


class _Engine(socketserver.ThreadingUnixStreamServer):
    """Serves each connection in a thread."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, path: str) -> None:
        self.listeners: list[queue.Queue[str]] = []
        super().__init__(path, _Connection)

    def report_removed(self, container: str) -> None:
        """Send an event for a removed container to all listeners."""
        for listener in tuple(self.listeners):
            listener.put(container)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that close early."""


def main(path: str) -> None:
    """Serve until SIGTERM."""
    with _Engine(path) as engine:
        signal.signal(
            signal.SIGTERM, lambda *_: threading.Thread(target=engine.shutdown, daemon=True).start()
        )
        print("ready", path, flush=True)
        engine.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main(sys.argv[1])
