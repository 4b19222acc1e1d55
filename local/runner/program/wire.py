"""HTTP/1.1 with as little as possible: no `http.client`, no `socket`, they load too long."""

import _socket
import errno
import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    from .sealed import Sealed

Wait = Callable[[int, bool], None]
"""Called with a file number and whether it is to be written; returns when it is ready."""

_SECONDS = 100.0


class UnreachableError(Exception):
    """No answer came; the text is worded as .NET words it."""


class _EndedError(OSError):
    """The other side closed the connection."""


class Response:
    """An answer: its status, the reason's words, its text."""

    def __init__(self, status: int, reason: str, text: str, request_id: str) -> None:
        self.status = status
        self.reason = reason
        self.text = text
        self.request_id = request_id

    @property
    def good(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Give the body."""
        return json.loads(self.text)

    @property
    def message(self) -> str:
        """Return GitHub's own words, or else what .NET says about the status."""
        try:
            return str(self.json()["message"])
        except (ValueError, KeyError, TypeError):
            return self.failure

    @property
    def failure(self) -> str:
        """The sentence of .NET's EnsureSuccessStatusCode."""
        status = f"{self.status} ({self.reason})"
        return f"Response status code does not indicate success: {status}."


def blocking(descriptor: int, write: bool) -> None:
    """Wait with nothing else to listen to."""
    reads, writes = ([], [descriptor]) if write else ([descriptor], [])
    # Windows tells of a connection that failed only as an exception.
    if select.select(reads, writes, writes, _SECONDS) == ([], [], []):
        limit = f"the configured HttpClient.Timeout of {_SECONDS:g} seconds elapsing"
        raise UnreachableError(f"The request was canceled due to {limit}.")


class Connection:
    """One connection, kept open between requests and opened anew where it was closed."""

    def __init__(self, host: str, port: int, secure: bool, wait: Wait = blocking) -> None:
        self._host, self._port, self._secure, self._wait = host, port, secure, wait
        self._socket: Optional[_socket.socket] = None
        self._tls: Optional[Sealed] = None
        self._buffer = b""

    def fileno(self) -> int:
        """Give the file number; -1 while closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._tls, self._buffer = None, None, b""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        authorization: str = "",
        content: str = "application/json",
    ) -> Response:
        """Ask and wait for the answer. Raises UnreachableError."""
        if self._stale():
            self.close()
        self.send(method, path, body, authorization, content)
        return self.receive()

    def _stale(self) -> bool:
        """Whether the other side has closed the connection, as it may once that is idle."""
        return self._socket is not None and bool(select.select([self._socket], [], [], 0)[0])

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        authorization: str = "",
        content: str = "application/json",
    ) -> None:
        """Ask; the answer is fetched with `receive`."""
        head = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        head.append("User-Agent: actions-runner-stand-in")
        if authorization:
            head.append(f"Authorization: {authorization}")
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        if body is not None:
            head.append(f"Content-Type: {content}")
        if body is not None or method != "GET":
            head.append(f"Content-Length: {len(data)}")
        try:
            if self._socket is None:
                self._open()
            self._write("\r\n".join([*head, "", ""]).encode() + data)
        except OSError as error:
            self.close()
            raise UnreachableError(self._describe(error)) from error

    def _open(self) -> None:
        found = _socket.getaddrinfo(self._host, self._port, 0, _socket.SOCK_STREAM)
        failure = OSError(errno.EADDRNOTAVAIL, "Name or service not known")
        for family, kind, protocol, _, address in found:
            candidate = _socket.socket(family, kind, protocol)
            candidate.setblocking(False)
            code = candidate.connect_ex(address)
            if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):  # the latter on Windows
                self._wait(candidate.fileno(), True)
                code = candidate.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if code == 0:
                self._socket, self._buffer = candidate, b""
                if self._secure:
                    self._seal()
                return
            candidate.close()
            failure = OSError(code, _word(code))
        raise failure

    def _seal(self) -> None:
        from .sealed import Sealed  # only where it is needed: it loads long

        tls = Sealed(self._host)
        while not tls.shaken():
            self._put(tls.seal())
            tls.open(self._got())
        self._put(tls.seal())
        self._tls = tls

    def _describe(self, error: OSError) -> str:
        if isinstance(error, (_EndedError, ConnectionResetError, BrokenPipeError)):
            return "An error occurred while sending the request."
        return f"{error.strerror or error} ({self._host}:{self._port})"

    def _write(self, data: bytes) -> None:
        self._put(data if self._tls is None else self._tls.seal(data))

    def _put(self, data: bytes) -> None:
        while data and self._socket is not None:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._wait(self.fileno(), True)

    def receive(self) -> Response:
        """Wait for the answer. Raises UnreachableError."""
        try:
            return self._receive()
        except OSError as error:
            self.close()
            raise UnreachableError(self._describe(error)) from error

    def _receive(self) -> Response:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._more()
        text, self._buffer = self._buffer[:length].decode(), self._buffer[length:]
        if headers.get("connection", "").lower() == "close":
            self.close()
        _, status, reason = (first + "  ").split(" ", 2)
        return Response(int(status), reason.strip(), text, headers.get("x-github-request-id", ""))

    def _more(self) -> None:
        if self._tls is None:
            self._buffer += self._got()
            return
        data = self._tls.open()
        while data is None:
            data = self._tls.open(self._got())
        if not data:
            raise self._ended()
        self._buffer += data

    def _got(self) -> bytes:
        while self._socket is not None:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                self._wait(self.fileno(), False)
                continue
            if data:
                return data
            break
        raise self._ended()

    def _ended(self) -> OSError:
        self.close()
        return _EndedError()


def _word(code: int) -> str:
    """Return the system's words for an error of a socket."""
    if sys.platform == "win32":
        from ctypes import FormatError

        return FormatError(code).strip()
    return os.strerror(code)
