"""Read what configure wrote about the runner: the file `.runner`, or the copy of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def read_settings(content: bytes | None) -> dict[str, Any]:
    """Return the content of a `.runner` file, with all keys in lower case; empty if it is invalid.

    Keys are camelCase from configure and PascalCase from a just-in-time configuration.
    """
    try:
        settings = json.loads(content.decode("utf-8-sig")) if content else {}
        return {key.lower(): value for key, value in settings.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}


def is_for_runner(content: bytes | None, name: str) -> bool:
    """Return whether it is the configuration of the runner `name`."""
    found = read_settings(content).get("agentname")
    return isinstance(found, str) and found.casefold() == name.casefold()


def read_runner_id(content: bytes | None) -> int | None:
    """Return GitHub's number for the runner."""
    try:
        return int(read_settings(content)["agentid"])
    except (ValueError, TypeError, KeyError):
        return None


def read_work_folder(content: bytes | None) -> str:
    """Return the folder of the runner's jobs; it may be relative to the runner's folder."""
    return str(read_settings(content).get("workfolder") or "_work")


def make_docker_label(content: bytes | None) -> str | None:
    """Return the label that the runner gives to the containers and images that it makes."""
    text = content and content.removeprefix(b"\xef\xbb\xbf")
    return hashlib.sha256(text).hexdigest()[:6] if text else None
