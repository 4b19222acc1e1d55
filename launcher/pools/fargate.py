"""Check what Fargate refuses: sizes, the network, systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.pools.pool import FARGATE, FARGATE_SPOT
from sidecar.aws.fargate import SIZES

if TYPE_CHECKING:
    from launcher.pools.pool import Pool
    from sidecar.documents.tables import Table

_WINDOWS_CPU = (1024, 2048, 4096)


def check_fargate(table: Table, pool: Pool) -> None:
    """Report what Fargate would refuse of a pool; a pool on EC2 is not concerned."""
    fargate = {FARGATE, FARGATE_SPOT}.intersection((pool.launch_type, *pool.capacities))
    if not fargate or not table.right("launch_type", "capacities"):
        return
    if not pool.network.subnets and table.right("subnets"):
        table.report("subnets", "is required on Fargate")
    if table.right("cpu", "memory"):
        _check_size(table, pool)
    if pool.offer.system != "windows":
        return
    if pool.offer.architecture != "x64":
        table.report("architecture", "must be x64: Fargate has no other Windows")
    if FARGATE_SPOT in pool.capacities:
        table.report("capacities", "must not have FARGATE_SPOT: it has no Windows")
    if pool.ephemeral_storage is not None:
        table.report("ephemeral_storage", "must be left out: Fargate does not take it for Windows")


def _check_size(table: Table, pool: Pool) -> None:
    if (pool.cpu is None) != (pool.memory is None):
        set_, other = ("cpu", "memory") if pool.memory is None else ("memory", "cpu")
        table.report(other, f"is required where {set_} is set: Fargate takes both or none")
    if pool.cpu is None or pool.memory is None:
        return
    sizes = _WINDOWS_CPU if pool.offer.system == "windows" else tuple(SIZES)
    if pool.cpu not in sizes:
        shown = ", ".join(map(str, sizes))
        table.report("cpu", f"must be one of {shown} on Fargate, not {pool.cpu}")
    elif pool.memory not in (memory := SIZES[pool.cpu]):
        step = "" if isinstance(memory, tuple) else f" in steps of {memory.step}"
        rule = f"must be {memory[0]} to {memory[-1]}{step} where cpu is {pool.cpu} on Fargate"
        table.report("memory", f"{rule}, not {pool.memory}")
