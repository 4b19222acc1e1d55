"""Compile sources for the zip: Lambda's code folder is read-only, so Python could keep nothing.

Without this every cold start would compile some hundred modules anew. Only the target's own Python
can do it; where there is none, the zip is built without.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.deploy.target import Target

TIMEOUT = 300.0
# It reads a zip of sources, and writes one of what it compiled; what is no Python 3 is left out.
PROGRAM = r"""
import importlib.util, io, os, sys, zipfile
from importlib._bootstrap_external import _code_to_hash_pyc
sources, made = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())), io.BytesIO()
with zipfile.ZipFile(made, "w") as archive:
    for name in sources.namelist():
        text = sources.read(name)
        try:
            code = compile(text, "/var/task/" + name, "exec", dont_inherit=True)
        except SyntaxError:
            continue
        unchecked = _code_to_hash_pyc(code, importlib.util.source_hash(text), False)
        archive.writestr(importlib.util.cache_from_source(name).replace(os.sep, "/"), unchecked)
sys.stdout.buffer.write(made.getvalue())
"""


def find_python(target: Target) -> str | None:
    """Find a Python of the target's version on this machine."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running == target.python:
        return sys.executable
    found = shutil.which(f"python{target.python}")
    if found is None:
        return None
    asked = [found, "-c", "import sys, json; print(json.dumps(sys.version_info[:2]))"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:  # a stub of a version manager
        return None
    return found if json.loads(done.stdout) == list(map(int, target.python.split("."))) else None


def compile_sources(files: Mapping[str, bytes], python: str) -> dict[str, bytes]:
    """Return the compiled form of each source, by path. Raises LaunchError."""
    sources = io.BytesIO()
    with zipfile.ZipFile(sources, "w") as archive:
        for name in sorted(files):
            if name.endswith(".py"):
                archive.writestr(name, files[name])
    command = [python, "-I", "-S", "-B", "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(
        command, input=sources.getvalue(), capture_output=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace")[-500:].strip()
        raise LaunchError(Exit.BUG, f"cannot compile the sources with {python}: {reason}")
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
