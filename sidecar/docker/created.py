"""Record what the proxy creates for the job, so that it can be removed when the job is over.

Each object is written to a file before the client gets its id. So the next agent finds what the job
of a killed agent has left.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar import host
from sidecar.docker.connection import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sidecar.docker.json_documents import JsonObject

log = structlog.get_logger()

CONTAINER, NETWORK, VOLUME, LABEL = KINDS = ("container", "network", "volume", "label")
"""The kinds of objects. A label is the runner's own: the images that it builds are named so."""
LONGEST_RECORD = 1 << 26
"""Bytes of a record that are read: some 600,000 objects."""
_ID = re.compile(r"[0-9a-f]{12,64}")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_VALID = {
    CONTAINER: _ID,
    NETWORK: re.compile(r"[0-9a-z]{12,64}"),
    VOLUME: re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"),
    LABEL: re.compile(r"[0-9a-f]{6}"),
}


class CreatedObject(NamedTuple):
    """One object at the engine."""

    kind: str
    id: str
    """Its id; a volume's name, because it has no id."""
    since: int = 0
    until: int = 0
    """Seconds between which a volume was made: its name may be another's later."""


class ObjectRecord:
    """The objects of one job, in memory and in a file that only this process's user may write."""

    def __init__(self, path: Path) -> None:
        self.closed = False
        """Whether the job is over: nothing more may be created."""
        self._path = path
        self._descriptor: int | None = None
        self._write_error: str | None = None
        """The reason why the last object could not be written down."""
        self._objects: dict[tuple[str, str], CreatedObject] = {}
        self._originals: dict[str, Mapping[str, str | None]] = {}
        self._label: str | None = None
        self._syncing = self._unsynced = False
        self._in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def objects(self) -> list[CreatedObject]:
        """Return the objects that were created so far; they may be removed already."""
        return list(self._objects.values())

    # -- what the proxy reports ----------------------------------------------------------------

    def begin(self) -> None:
        """Note that a create request goes to the engine. Raises RequestRefused after the job."""
        if self.closed:
            raise RequestRefused(503, "the job is over: its containers are being removed")
        self._in_progress += 1
        self._idle.clear()

    def end(self) -> None:
        """Note that its response has come, or never will."""
        self._in_progress -= 1
        if not self._in_progress:
            self._idle.set()

    async def wait_for_responses(self) -> None:
        """Wait until no create request is in progress."""
        await self._idle.wait()

    def add(self, kind: str, id_: object, since: float = 0.0) -> None:
        """Record an object before its client hears of it; `since` is when it was asked for."""
        if not isinstance(id_, str) or not _VALID[kind].fullmatch(id_):
            return
        known = CreatedObject(kind, id_)
        if kind == VOLUME:  # one of the same name may have been removed, and made again
            known = known._replace(since=int(since), until=int(time.time()))
        earlier = self._objects.get((kind, id_))
        if earlier is None or earlier.since != known.since:
            self._objects[kind, id_] = known
            self._write(known)

    def holds(self, kind: str, id_: str) -> bool:
        """Return whether an object is recorded."""
        return (kind, id_) in self._objects

    def set_label(self, label: str | None) -> None:
        """Set the label that the runner gives to its images."""
        self._label = label

    def note_build(self) -> None:
        """Note that an image is built: the runner's own images have its label as their name."""
        if self._label is not None:
            self.add(LABEL, self._label)

    # -- the variables that were changed -------------------------------------------------------

    def note_variables(self, container: str, originals: Mapping[str, str | None]) -> None:
        """Note the variables that the proxy has changed, with the values before."""
        self._originals[container] = originals

    def original_variables(self, container: str) -> Mapping[str, str | None]:
        """Return them; none for a container that the proxy did not create."""
        return self._originals.get(container, {})

    # -- the file ------------------------------------------------------------------------------

    def _write(self, known: CreatedObject) -> None:
        try:
            if self._descriptor is None:
                if not self._is_ours():
                    host.write_new(self._path, b"", 0o600, None)
                self._descriptor = host.open_to_append(self._path)
            # Written now, which outlives a kill of this process. To outlive the machine's own end
            # it must reach the disk: that takes milliseconds, and no client waits for it.
            os.write(self._descriptor, json.dumps(known).encode() + b"\n")
            self._sync_soon()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if reason != self._write_error:  # not for everything that a job creates
                log.warning("docker.record_failed", reason=reason)
            self._write_error = reason
        else:
            self._write_error = None

    def _sync_soon(self) -> None:
        """Have the file written to the disk by a thread; one at a time."""
        self._unsynced = True
        if self._descriptor is None or self._syncing:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._syncing, self._unsynced = True, False
        future = loop.run_in_executor(None, _sync, os.dup(self._descriptor))
        future.add_done_callback(self._on_synced)

    def _on_synced(self, future: asyncio.Future[None]) -> None:
        self._syncing = False
        failed = not future.cancelled() and future.exception() is not None
        if self._unsynced and not failed:
            self._sync_soon()

    def _is_ours(self) -> bool:
        try:
            return (
                host.is_own(self._path)
                and host.read_regular(self._path, LONGEST_RECORD) is not None
            )
        except OSError:
            return False

    def load(self) -> list[CreatedObject]:
        """Take over what the file of a killed agent records; return that."""
        found = read_objects(self._path)
        for one in found:
            self.take(one)
        return found

    def take(self, known: CreatedObject) -> None:
        """Take over one object, without writing it."""
        self._objects[known.kind, known.id] = known

    def delete(self) -> None:
        """Delete the file: everything is removed. Raises OSError."""
        self.close()
        self._objects.clear()
        host.remove_entry(self._path)  # a job may have put a folder there

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_objects(path: Path) -> list[CreatedObject]:
    """Return what a file records; nothing if there is no file, or if it is not this user's.

    A line that was cut off by a kill is left out: its client got no id.
    """
    try:
        found = host.read_regular(path, LONGEST_RECORD) if host.is_own(path) else None
    except OSError:
        return []
    objects = []
    for line in found[0].splitlines() if found is not None else ():
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            kind, id_, since, until = json.loads(line)
            if _VALID[kind].fullmatch(id_):
                objects.append(CreatedObject(kind, id_, int(since), int(until)))
    return objects


def find_volume_names(body: JsonObject) -> set[str]:
    """Return the names of the volumes that a create request mounts: the engine makes those missing.

    Anonymous volumes have no name here: see `find_anonymous_volumes`. Docker 20.10 reads the fields
    of HostConfig at the top, too.
    """
    names: set[str] = set()
    for config in (body.get_field("HostConfig", dict), body):
        if config is not None:
            binds = config.get_field("Binds", list) or []
            names |= {one.partition(":")[0] for one in binds if isinstance(one, str) and ":" in one}
            mounts = config.get_field("Mounts", list) or []
            names |= set(_names(mounts, "Source", kind="volume"))
    names |= set(_names(body.get_field("volumes", list) or [], "Name", kind=None))  # podman's form
    return {name for name in names if _VALID[VOLUME].fullmatch(name)}


def find_anonymous_volumes(inspected: JsonObject) -> tuple[list[str], float]:
    """Return the anonymous volumes of a container, and when it was made.

    They are removed with it only if its client asks for that; a volume of another container that it
    mounts too is older. Raises UnreadableBody, or ValueError if the engine tells no time.
    """
    asked = find_volume_names(inspected)
    mounted = set(_names(inspected.get_field("Mounts", list) or [], "Name", kind="volume"))
    made = datetime.fromisoformat(inspected.get_field("Created", str) or "").timestamp()
    return sorted(name for name in mounted - asked if _ANONYMOUS.fullmatch(name)), made


def _names(mounts: list[object], field: str, kind: str | None) -> Iterable[str]:
    for mount in mounts:
        if not hasattr(mount, "get_field"):
            continue
        name = mount.get_field(field, str)
        if name and (kind is None or mount.get_field("Type", str) == kind):
            yield name
