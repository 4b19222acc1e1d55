"""TLS for a connection whose owner does the reading, the writing and the waiting."""

import ssl
from typing import Optional


class Sealed:
    """One end of a connection; SSL_CERT_FILE names the authorities that it trusts."""

    def __init__(self, host: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)

    def shaken(self) -> bool:
        """Go on with the handshake; tell whether it is over, or the other end must say more."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def seal(self, data: bytes = b"") -> bytes:
        """Give what is to be sent by now, `data` included."""
        if data:
            self._tls.write(data)
        return self._out.read()

    def open(self, received: bytes = b"") -> Optional[bytes]:
        """Return what the other end has sent; None until more has been received."""
        self._in.write(received)
        try:
            return self._tls.read(65536)
        except ssl.SSLWantReadError:
            return None
