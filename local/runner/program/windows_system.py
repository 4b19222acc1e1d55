"""This machine: Windows."""

import os
import sys

assert sys.platform == "win32"


def name() -> str:
    """Give `Windows`."""
    return "Windows"


def host() -> str:
    """Give the machine's name."""
    return os.environ.get("COMPUTERNAME", "windows")


def architecture() -> str:
    """Give `X64`, `ARM64`, or what the machine calls itself."""
    machine = os.environ.get("PROCESSOR_ARCHITECTURE", "AMD64")
    return {"AMD64": "X64", "ARM64": "ARM64"}.get(machine, machine)


def description() -> str:
    """Give the system's name and version, as .NET words them."""
    version = sys.getwindowsversion()
    return f"Microsoft Windows {version.major}.{version.minor}.{version.build}"


def find_caches() -> str:
    """Return the folder of the user's caches; "" if there is none."""
    return os.environ.get("LOCALAPPDATA", "")
