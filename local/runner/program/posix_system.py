"""This machine: Linux, or macOS."""

import os
import sys

assert sys.platform != "win32"


def name() -> str:
    """Give `Linux` or `macOS`."""
    return "macOS" if sys.platform == "darwin" else "Linux"


def host() -> str:
    """Give the machine's name."""
    return os.uname().nodename


def architecture() -> str:
    """Give `X64`, `ARM64`, or what the machine calls itself."""
    machine = os.uname().machine
    return {"x86_64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}.get(machine, machine)


def description() -> str:
    """Give the system's name and version, as `/etc/os-release` has it."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            for line in file:
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip().strip('"')
    except OSError:
        pass
    return name()


def find_caches() -> str:
    """Return the folder of the user's caches."""
    home = os.environ.get("HOME", "")
    return os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
