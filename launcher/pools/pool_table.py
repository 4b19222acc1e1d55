"""Read one pool out of its table."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.places import boot
from launcher.places.ec2_request import ON_DEMAND, SPOT
from launcher.pools.access import read_access
from launcher.pools.checks import (
    check_address,
    check_agent_image,
    check_cluster,
    check_container,
    check_definition,
    check_group_name,
    check_image,
    check_instance_type,
    check_label,
    check_metadata_tag,
    check_name,
    check_profile,
    check_provider,
    check_security_group,
    check_sha256,
    check_subnet,
    check_tag,
    check_template,
    check_version,
)
from launcher.pools.fargate import check_fargate
from launcher.pools.labels import Offer, Pattern
from launcher.pools.pool import (
    EC2,
    FARGATE,
    JUST_IN_TIME,
    MACHINES,
    REGISTRATION,
    TASKS,
    Clocks,
    MachineKind,
    Network,
    Pool,
)
from launcher.pools.schedules import Schedule, read_schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sidecar.documents.tables import Table

MOST_RUNNERS = 10_000
DAY = 86_400
BOOT = {"linux": 300, "windows": 720}
"""Seconds from placed to online; an image of Windows takes minutes to unpack."""
_WHEEL_KEYS = "agent_requirements", "agent_requirements_sha256"
_LAUNCHER, _TEMPLATE = "launcher", "template"
"""Whose user data the machines of EC2 have."""
MOST_TAGS = 30
"""Of the 50 that AWS takes; the launcher's own need some."""


def read_pool(table: Table) -> Pool:
    """Read all keys of the table; each mistake is reported, and the rest is read all the same."""
    name = table.required_text("name", check_name)
    offer = _read_offer(table)
    has_machines = table.choice("place", (TASKS, MACHINES), TASKS) == MACHINES
    maximum = table.number("maximum", 10, 1, MOST_RUNNERS)
    minimum, schedules = _read_minimum(table, maximum)
    started = _read_machines(table, offer) if has_machines else _read_tasks(table)
    pool = Pool(
        name=name,
        offer=offer,
        **started,
        clocks=_read_clocks(table, offer.system),
        maximum=maximum,
        minimum=minimum,
        schedules=schedules,
        access=read_access(table.table("access")),
        runner_group=table.text("runner_group", "", check_group_name) or None,
        token=table.choice("token", (JUST_IN_TIME, REGISTRATION), JUST_IN_TIME),
        tags=MappingProxyType(_read_tags(table, check_metadata_tag if has_machines else check_tag)),
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


def _read_tasks(table: Table) -> dict[str, Any]:
    """Read what only tasks of ECS have."""
    launch_type = table.choice("launch_type", (FARGATE, EC2), "") or None
    capacities = table.texts("capacities", check_provider, most=6)
    if launch_type and capacities:
        table.report("capacities", "must be left out where launch_type is set: ECS takes only one")
    return {
        "launch_type": launch_type,
        "capacities": capacities,
        "task_definition": table.required_text("task_definition", check_definition),
        "cluster": table.text("cluster", "default", check_cluster),
        "container": table.text("container", "runner", check_container),
        "cpu": table.optional_number("cpu", 128, 196_608),
        "memory": table.optional_number("memory", 128, 4_194_304),
        "ephemeral_storage": table.optional_number("ephemeral_storage", 21, 200),
        "network": _read_network(table),
    }


def _read_machines(table: Table, offer: Offer) -> dict[str, Any]:
    """Read what only machines of EC2 have. Nothing that is a task's is known here."""
    agent = _read_agent(table, offer)
    groups = table.texts("security_groups", check_security_group, most=16)
    if groups and agent is None and table.right("security_groups"):
        table.report("security_groups", "must be the launch template's where user_data are, too")
    kind = MachineKind(
        launch_template=table.required_text("launch_template", check_template),
        version=table.text("launch_template_version", "$Default", check_version),
        instance_types=table.texts("instance_types", check_instance_type, most=20),
        image=table.text("image", "", check_image) or None,
        instance_profile=table.text("instance_profile", "", check_profile) or None,
        agent=agent,
    )
    return {
        "launch_type": None,
        "capacities": table.texts("capacities", _check_capacity) or (ON_DEMAND,),
        "task_definition": "",
        "cluster": "",
        "container": "",
        "cpu": None,
        "memory": None,
        "ephemeral_storage": None,
        "network": Network(table.texts("subnets", check_subnet, most=16), groups),
        "machine": kind,
    }


def _read_agent(table: Table, offer: Offer) -> boot.AgentSource | None:
    """Read where a machine's agent comes from; None: the launch template has the user data."""
    image = table.text("agent_image", "", check_agent_image)
    wheels = table.text("agent_requirements", "", check_address)
    sha256 = table.text("agent_requirements_sha256", "", check_sha256)
    if bool(wheels) != bool(sha256) and table.right(*_WHEEL_KEYS):
        has, needs = _WHEEL_KEYS if wheels else _WHEEL_KEYS[::-1]
        table.report(needs, f"is required where {has} is set")
    if image and wheels:
        table.report("agent_image", "must be left out where agent_requirements is set")
    if wheels.startswith("s3:") and offer.system == boot.WINDOWS:
        table.report("agent_requirements", "must be an address with https:// on Windows")
    if table.choice("user_data", (_LAUNCHER, _TEMPLATE), _LAUNCHER) == _TEMPLATE:
        for key in (key for key in ("agent_image", *_WHEEL_KEYS) if table.has(key)):
            table.report(key, "must be left out where user_data is template")
        return None
    if image:
        return boot.AgentSource(boot.DOCKER, image)
    return boot.AgentSource(boot.WHEEL, wheels, sha256) if wheels else boot.AgentSource()


def _check_capacity(text: str) -> None:
    if text not in (SPOT, ON_DEMAND):
        message = f"must be {SPOT} or {ON_DEMAND}"
        raise ValueError(message)


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


def _read_tags(table: Table, check: Callable[[str, str], None]) -> dict[str, str]:
    tags = table.pairs("tags", check)
    if len(tags) > MOST_TAGS:
        table.report("tags", f"must be {MOST_TAGS} at most, and are {len(tags)}")
    return tags


def _check_registered(table: Table, pool: Pool) -> None:
    """Check what only a just-in-time configuration can register."""
    if pool.token == REGISTRATION and any("," in label for label in pool.offer.labels):
        table.report("labels", "must have no ',' with token = 'registration': the runner splits it")
