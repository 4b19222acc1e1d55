"""Read what the task uses: `<metadata uri>/task/stats` and `/task` of the ECS agent.

The statistics are docker's, one document for each container (task metadata endpoint, version 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from sidecar.net.marked_sockets import connector

DEADLINE = 3.0
"""Seconds; the endpoint is on the same machine."""
_NANOSECONDS = 1e9
_WORKING_SET = "privateworkingset"
"""The memory of a Windows container, which alone has it (docker's API, `ContainerStats`)."""
_WINDOWS_UNIT = 100
"""Nanoseconds: Windows counts processor time in hundreds of them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The use of all containers of the task: so far, or now."""

    cpu_seconds: float
    memory: float
    """MiB, without files that the kernel may forget."""
    memory_peak: float
    """MiB, as far as the kernel says it; else the present value."""
    received: int
    """Bytes from the network."""
    sent: int
    read: int
    """Bytes from disks."""
    written: int


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the task; None where it has no limit."""

    cpu: float | None
    """vCPUs."""
    memory: float | None
    """MiB."""
    launch_type: str
    disk_used: float | None
    """MiB of ephemeral storage."""
    disk: float | None


class StatsError(Exception):
    """The statistics cannot be read; the text says why."""


async def read_sample(metadata_uri: str, *, so_mark: bool) -> Sample:
    """Read the statistics of all containers. Raises StatsError."""
    document = await _read(f"{metadata_uri}/task/stats", so_mark=so_mark)
    return parse_sample(document)


async def read_size(metadata_uri: str, *, so_mark: bool) -> Size:
    """Read what the task has. Raises StatsError."""
    document = await _read(f"{metadata_uri}/task", so_mark=so_mark)
    limits, disk = _table(document, "Limits"), _table(document, "EphemeralStorageMetrics")
    return Size(
        _number(limits.get("CPU")),
        _number(limits.get("Memory")),
        str(document.get("LaunchType") or ""),
        _number(disk.get("Utilized")),
        _number(disk.get("Reserved")),
    )


async def _read(url: str, *, so_mark: bool) -> dict[str, Any]:
    """Read one document. Raises StatsError."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, trust_env=False, connector=connector(so_mark=so_mark)
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            answer.raise_for_status()
            document = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise StatsError(f"the ECS agent does not say it: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise StatsError("the ECS agent does not say it: no JSON object")
    return document


def parse_sample(document: dict[str, Any]) -> Sample:
    """Add up the containers' statistics; a container that has not started has none (null)."""
    containers = [one for one in document.values() if isinstance(one, dict)]
    if not containers:
        raise StatsError("the ECS agent does not say it: no container has statistics")
    cpu, memory, peak = 0.0, 0.0, 0.0
    received = sent = read = written = 0
    for one in containers:
        stats = _table(one, "memory_stats")
        unit = _WINDOWS_UNIT if _WORKING_SET in stats else 1
        cpu += unit * (_number(_table(one, "cpu_stats", "cpu_usage").get("total_usage")) or 0.0)
        used = _number(stats.get("usage", stats.get(_WORKING_SET))) or 0.0
        details = _table(stats, "stats")
        idle = details.get("inactive_file", details.get("total_inactive_file"))
        now = max(0.0, used - (_number(idle) or 0.0))
        memory += now
        peak += max(now, _number(stats.get("max_usage")) or 0.0)
        for network in _table(one, "networks").values():
            received += int(_number(_table(network).get("rx_bytes")) or 0)
            sent += int(_number(_table(network).get("tx_bytes")) or 0)
        reads, writes = _count_blocks(one)
        read, written = read + reads, written + writes
    mib = 1 << 20
    return Sample(cpu / _NANOSECONDS, memory / mib, peak / mib, received, sent, read, written)


def _count_blocks(container: dict[str, Any]) -> tuple[int, int]:
    found = {"read": 0, "write": 0}
    entries = _table(container, "blkio_stats").get("io_service_bytes_recursive")
    for entry in entries if isinstance(entries, list) else ():
        kind = str(_table(entry).get("op") or "").lower()
        if kind in found:
            found[kind] += int(_number(_table(entry).get("value")) or 0)
    storage = _table(container, "storage_stats")  # Windows has this instead
    for kind in found:
        found[kind] += int(_number(storage.get(f"{kind}_size_bytes")) or 0)
    return found["read"], found["write"]


def _table(document: object, *path: str) -> dict[str, Any]:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
