"""Read one pool out of its table."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.pools.access import read_access
from launcher.pools.checks import (
    check_cluster,
    check_container,
    check_definition,
    check_group_name,
    check_label,
    check_name,
    check_provider,
    check_security_group,
    check_subnet,
    check_tag,
)
from launcher.pools.fargate import check_fargate
from launcher.pools.labels import Offer, Pattern
from launcher.pools.pool import EC2, FARGATE, JUST_IN_TIME, REGISTRATION, Clocks, Network, Pool
from launcher.pools.schedules import Schedule, read_schedule

if TYPE_CHECKING:
    from launcher.pools.tables import Table

MOST_RUNNERS = 10_000
DAY = 86_400
BOOT = {"linux": 300, "windows": 720}
"""Seconds from placed to online; an image of Windows takes minutes to unpack."""
MOST_TAGS = 30
"""Of the 50 that AWS takes; the launcher's own need some."""


def read_pool(table: Table) -> Pool:
    """Read all keys of the table; each mistake is reported, and the rest is read all the same."""
    name = table.required_text("name", check_name)
    offer = _read_offer(table)
    launch_type = table.choice("launch_type", (FARGATE, EC2), "") or None
    capacities = table.texts("capacities", check_provider, most=6)
    if launch_type and capacities:
        table.report("capacities", "must be left out where launch_type is set: ECS takes only one")
    maximum = table.number("maximum", 10, 1, MOST_RUNNERS)
    minimum, schedules = _read_minimum(table, maximum)
    pool = Pool(
        name=name,
        offer=offer,
        task_definition=table.required_text("task_definition", check_definition),
        cluster=table.text("cluster", "default", check_cluster),
        container=table.text("container", "runner", check_container),
        launch_type=launch_type,
        capacities=capacities,
        cpu=table.optional_number("cpu", 128, 196_608),
        memory=table.optional_number("memory", 128, 4_194_304),
        ephemeral_storage=table.optional_number("ephemeral_storage", 21, 200),
        network=_read_network(table),
        clocks=_read_clocks(table, offer.system),
        maximum=maximum,
        minimum=minimum,
        schedules=schedules,
        access=read_access(table.table("access")),
        runner_group=table.text("runner_group", "", check_group_name) or None,
        token=table.choice("token", (JUST_IN_TIME, REGISTRATION), JUST_IN_TIME),
        tags=MappingProxyType(_read_tags(table)),
        rerun_interrupted=table.flag("rerun_interrupted", default=False),
    )
    check_fargate(table, pool)
    _check_registered(table, pool)
    table.finish()
    return pool


def _read_offer(table: Table) -> Offer:
    labels = table.texts("labels", check_label, most=90)
    patterns = [Pattern.parse(text) for text in table.texts("patterns", Pattern.parse, most=10)]
    if not labels and not table.has("labels"):
        table.report("labels", "is required; [] serves every job that asks for self-hosted alone")
    return Offer(
        table.choice("os", ("linux", "windows"), "linux"),
        table.choice("architecture", ("x64", "arm64"), "x64"),
        frozenset(map(str.lower, labels)),
        tuple(patterns),
        table.flag("exact", default=False),
    )


def _read_network(table: Table) -> Network:
    network = Network(
        table.texts("subnets", check_subnet, most=16),
        table.texts("security_groups", check_security_group, most=5),
        table.flag("public_ip", default=False),
    )
    for key in ("security_groups", "public_ip"):
        if getattr(network, key) and not network.subnets and table.right("subnets"):
            table.report(key, "needs subnets")
    return network


def _read_clocks(table: Table, system: str) -> Clocks:
    clocks = Clocks(
        provisioning=table.seconds("provisioning_limit", 600, 30, 3600),
        boot=table.seconds("boot_limit", BOOT.get(system, 300), 30, 3600),
        idle=table.seconds("idle_limit", 300, 30, 7 * DAY),
        life=table.seconds("life_limit", DAY // 2, 60, 14 * DAY),
    )
    if table.right("boot_limit", "idle_limit", "life_limit"):
        needed = clocks.boot + clocks.idle
        if clocks.life <= needed:
            shown = f"{needed} s, which boot_limit and idle_limit take together"
            table.report("life_limit", f"must be more than {shown}")
    return clocks


def _read_minimum(table: Table, maximum: int) -> tuple[int, tuple[Schedule, ...]]:
    minimum = table.number("min", 0, 0, MOST_RUNNERS)
    read = [read_schedule(each, MOST_RUNNERS) for each in table.tables("schedules")]
    schedules = tuple(schedule for schedule in read if schedule)
    most = max([minimum, *(schedule.minimum for schedule in schedules)])
    if table.right("maximum", "min") and most > maximum:
        key = "min" if most == minimum else "schedules"
        table.report(key, f"keeps {most} runners warm, and maximum is {maximum}")
    return minimum, schedules


def _read_tags(table: Table) -> dict[str, str]:
    tags = table.pairs("tags", check_tag)
    if len(tags) > MOST_TAGS:
        table.report("tags", f"must be {MOST_TAGS} at most, and are {len(tags)}")
    return tags


def _check_registered(table: Table, pool: Pool) -> None:
    """Check what only a just-in-time configuration can register."""
    if pool.token == REGISTRATION and any("," in label for label in pool.offer.labels):
        table.report("labels", "must have no ',' with token = 'registration': the runner splits it")
