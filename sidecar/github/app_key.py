"""Read the private key of a GitHub App in the forms in which people store it.

A secret store, a variable and a pipeline each change line ends, so people encode the key first.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import unquote

DEEPEST = 4
"""Forms within each other that are read, such as JSON that holds base64 of the PEM."""
BLOCK = re.compile(r"-----BEGIN ((?:RSA )?PRIVATE KEY)-----(.+?)-----END \1-----", re.DOTALL)
ESCAPES = re.compile(r"\\+[nrt]")
"""Line ends that were written out, once or more often."""
BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
RSA = bytes.fromhex("06092a864886f70d010101")
"""The object identifier that PKCS #8 has before an RSA key, and PKCS #1 has not."""
SEQUENCE, HEAD = b"\x30\x82", 40
"""The begin of a key in DER, before two bytes of length; and the bytes that stand for RSA."""
LINE = 64


def read_app_key(text: str) -> str | None:
    """Return the key as PEM; None if the text holds none, or more than one.

    Read are PEM with any line ends or none, base64 of PEM or of DER, JSON that holds one of them,
    and these within each other.
    """
    return _read(text, DEEPEST)


def explain_key(text: str) -> str:
    """Say why a text is no key, without showing it."""
    text = text.strip()
    if "ENCRYPTED" in text:
        return "holds a key with a passphrase, and the key that GitHub gives has none"
    if "PUBLIC KEY-----" in text:
        return "holds a public key: GitHub gives the private one when it makes it, once"
    if re.match(r"(SHA256:|[0-9a-f]{2}(:[0-9a-f]{2}){15})", text):
        return "holds the fingerprint of a key, and not the key"
    if re.fullmatch(r"(/|[A-Za-z]:\\|\.{1,2}/|~/)\S{1,300}|[\w.-]{1,200}\.(pem|key)", text):
        return "is a path: write file: before it"
    return "holds no RSA private key in PEM form"


def _read(text: str, depth: int) -> str | None:
    text = text.strip("\ufeff \t\r\n\0")
    if depth == 0 or not text:
        return None
    if text[0] in '{["':
        return _read_json(text, depth)
    blocks = BLOCK.findall(unquote(text) if "%" in text else text)
    if blocks:
        return _only({_read_body(body) for _, body in blocks})
    return _read_base64(text, depth)


def _only(found: set[str | None]) -> str | None:
    """Return the key if it is one alone."""
    keys = found - {None}
    return keys.pop() if len(keys) == 1 else None


def _read_body(body: str) -> str | None:
    """Write the body of a PEM block as lines of their own; None if it is no RSA key."""
    packed = _pack(body)
    try:
        content = base64.b64decode(packed, validate=True)
    except ValueError:
        return None
    return _write_pem(content)


def _write_pem(content: bytes) -> str | None:
    whole = len(content) == 4 + int.from_bytes(content[2:4])
    if not (content.startswith(SEQUENCE) and whole):  # such as the first line of a key
        return None
    kind = "PRIVATE KEY" if RSA in content[:HEAD] else "RSA PRIVATE KEY"
    packed = base64.b64encode(content).decode()
    lines = [packed[at : at + LINE] for at in range(0, len(packed), LINE)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def _pack(text: str) -> str:
    return re.sub(r"[\s\"',]", "", ESCAPES.sub("", text))


def _read_base64(text: str, depth: int) -> str | None:
    packed = _pack(text).translate(str.maketrans("-_", "+/"))
    if not BASE64.fullmatch(packed):
        return None
    try:
        content = base64.b64decode(packed.rstrip("=") + "=" * (-len(packed.rstrip("=")) % 4))
    except ValueError:
        return None
    if (pem := _write_pem(content)) is not None:
        return pem
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        try:
            found = _read(content.decode(encoding), depth - 1)
        except UnicodeDecodeError:
            continue
        if found is not None:
            return found
    return None


def _read_json(text: str, depth: int) -> str | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _only({_read(each, depth - 1) for each in _list_texts(content)})


def _list_texts(content: object) -> list[str]:
    """List the texts of JSON; a list of texts is also the lines of one."""
    match content:
        case str():
            return [content]
        case dict():
            return [text for value in content.values() for text in _list_texts(value)]
        case list() if all(isinstance(line, str) for line in content):
            return [*content, "\n".join(content)]
        case list():
            return [text for value in content for text in _list_texts(value)]
    return []
