"""Say what a machine has said last, before it is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.errors import describe
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.places import Place
    from launcher.record.launch import Launch

log = structlog.get_logger()


async def show_console(place: Place, launch: Launch, reason: str) -> None:
    """Write the last lines of the console of a machine whose runner was missed; a task has none."""
    machine = launch.place or ""
    if not identity.is_machine(machine):
        return
    try:
        lines = await place.read_console(machine)
    except SidecarError as error:
        lines = [describe(error)]
    facts = {"launch": launch.id, "machine": machine, "pool": launch.pool}
    log.error("runner.missed", **facts, reason=reason, console=lines)
