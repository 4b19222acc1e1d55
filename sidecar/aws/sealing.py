"""Seal the value of a parameter: nobody can read it without the key, which is somewhere else.

A launcher seals a token that registers runners for an hour. The key goes to the agent of one task,
in its environment, which no job can read; the sealed value goes into the task's parameter, which a
job with the task's role can read. Neither is worth anything without the other.
"""

from __future__ import annotations

import base64
import secrets

MARK = "sealed:"
"""The beginning of every sealed value; no token begins so."""
_KEY, _NONCE = 32, 12
"""Bytes of AES-256-GCM."""


def make_key() -> str:
    """Make a key for one task."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY)).decode()


def is_sealed(value: str) -> bool:
    """Whether a value needs a key."""
    return value.startswith(MARK)


def seal(text: str, key: str, task: str) -> str:
    """Seal a text for the task of this id."""
    # Imported when needed: the library takes long to load, and most values are not sealed.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    sealed = AESGCM(base64.urlsafe_b64decode(key)).encrypt(nonce, text.encode(), task.encode())
    return MARK + base64.b64encode(nonce + sealed).decode()


def unseal(value: str, key: str, task: str) -> str:
    """Return the text. Raises ValueError if it was sealed with another key, or for another task."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        whole = base64.b64decode(value.removeprefix(MARK), validate=True)
        cipher = AESGCM(base64.urlsafe_b64decode(key))
        return cipher.decrypt(whole[:_NONCE], whole[_NONCE:], task.encode()).decode()
    except (InvalidTag, ValueError):
        raise ValueError("it is sealed with another key") from None
