"""This machine, in the words of GitHub's default labels."""

import os
import sys


def name() -> str:
    """Give `Linux` or `macOS`."""
    return "macOS" if sys.platform == "darwin" else "Linux"


def host() -> str:
    """Give the machine's name."""
    if sys.platform == "win32":
        raise NotImplementedError
    return os.uname().nodename


def architecture() -> str:
    """Give `X64`, `ARM64`, or what the machine calls itself."""
    if sys.platform == "win32":
        raise NotImplementedError
    machine = os.uname().machine
    return {"x86_64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}.get(machine, machine)
