"""Find out whether the engine sees the agent's files: its machine has other folders at their paths.

The source of a bind mount is a path on the engine's side. One that is not there is made as an empty
folder, and a job's container finds nothing in it.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from sidecar import host
from sidecar.docker.engine import EngineError, NotFound, Refused
from sidecar.net import retry

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.docker.engine import Engine

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds until the engine is asked again, which may not have started yet."""
PROBE_IMAGE = "runner-sidecar/probe"
_MARKER = ".sidecar-probe-"
_WORDS = ("bind source path", "mount config")
"""Words of the engine about a source that is not there."""


async def sees_folder(engine: Engine, folder: Path) -> bool | None:
    """Return whether the engine sees what the agent writes into a folder.

    None: it does not tell, as podman does. Raises EngineError if it does not answer, and OSError if
    the agent cannot write there.
    """
    marker = folder / f"{_MARKER}{secrets.token_hex(6)}"
    try:
        await asyncio.to_thread(host.write_new, marker, b"", 0o600, None)
        seen = await _accepts(engine, marker)
        if not seen:
            return seen
        # One that accepts this looks at no source.
        absent = marker.with_name(f"{_MARKER}{secrets.token_hex(6)}")
        return True if await _accepts(engine, absent) is False else None
    finally:
        with suppress(OSError):
            await asyncio.to_thread(host.remove_entry, marker)


async def wait_until_seen(engine: Engine, folder: Path) -> bool | None:
    """Return what `sees_folder` does, when the engine answers at last. Raises OSError."""
    pause = retry.growing(EngineError, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
    while True:
        try:
            return await sees_folder(engine, folder)
        except EngineError as error:
            await asyncio.sleep(pause(error))


async def _accepts(engine: Engine, source: Path) -> bool | None:
    """Return whether the engine takes this for the source of a mount; None: it does not tell.

    It looks at the mounts of a new container before the image, and there is no such image: so no
    container is made. Raises EngineError if it does not answer.
    """
    mount = {"Type": "bind", "Source": str(source), "Target": "/probe", "ReadOnly": True}
    body = {
        "Image": f"{PROBE_IMAGE}:{secrets.token_hex(8)}",
        "Cmd": ["probe"],
        "HostConfig": {"Mounts": [mount]},
    }
    try:
        made = await engine.post("/containers/create", body)
    except NotFound:
        return True
    except Refused as error:
        return False if any(words in str(error) for words in _WORDS) else None
    if isinstance(made, dict) and isinstance(made.get("Id"), str):
        await engine.delete(f"/containers/{quote(made['Id'], safe='')}?force=1&v=1")
    return True


def find_existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), folder)
