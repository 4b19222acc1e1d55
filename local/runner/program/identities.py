"""Random identities."""

import os


def uuid() -> str:
    """Make a random UUID."""
    text = os.urandom(16).hex()
    return "-".join((text[:8], text[8:12], "4" + text[13:16], "a" + text[17:20], text[20:]))
