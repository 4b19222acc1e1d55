"""Read the pools: what can be started, for which labels, for whom, and how many.

A document is TOML. It is read whole: `parse_pools` gives the pools, or one line for every mistake.
It changes nothing by itself, so whoever reloads a document keeps the old pools when it gets
`Problems`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from launcher.access import Access, read_access
from launcher.document import Mistakes, Table
from launcher.labels import SYSTEM_LABELS, Offer, Pattern, rank
from launcher.schedules import Schedule, read_schedule
from sidecar.values import LABEL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from launcher.labels import Match

STANDARD_PARAMETER, ADVANCED_PARAMETER = 4096, 8192
"""Bytes of an SSM parameter's value, by its tier (SSM, PutParameter, "Value")."""
LONGEST_DOCUMENT = 1024 * 1024
MOST_POOLS, MOST_RUNNERS = 200, 10_000
DAY = 86_400
FARGATE, FARGATE_SPOT, EC2 = "FARGATE", "FARGATE_SPOT", "EC2"
JUST_IN_TIME, REGISTRATION = "just-in-time", "registration"
SIZE = "{size}"
BOOT = {"linux": 300, "windows": 720}
"""Seconds from placed to online; an image of Windows takes minutes to unpack."""

_GIB = 1024
_FARGATE_SIZES: Final[Mapping[int, range | tuple[int, ...]]] = {
    256: (512, 1 * _GIB, 2 * _GIB),
    512: range(1 * _GIB, 4 * _GIB + 1, _GIB),
    1024: range(2 * _GIB, 8 * _GIB + 1, _GIB),
    2048: range(4 * _GIB, 16 * _GIB + 1, _GIB),
    4096: range(8 * _GIB, 30 * _GIB + 1, _GIB),
    8192: range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB),
    16384: range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB),
}
"""Memory in MiB for each CPU (ECS, "Task CPU and memory" for Fargate)."""
_WINDOWS_CPU = (1024, 2048, 4096)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PROVIDER = re.compile(r"(?!aws|ecs|fargate)[A-Za-z0-9_-]{1,255}|FARGATE|FARGATE_SPOT")
_CLUSTER = re.compile(r"(arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/)?[A-Za-z0-9_-]{1,255}")
_DEFINITION = re.compile(
    r"(arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task-definition/)?[A-Za-z0-9_-]{1,255}(:\d{1,9})?"
)
_CONTAINER = re.compile(r"[A-Za-z0-9_-]{1,255}")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_TAG = re.compile(r"[\w\s.:/=+\-@]*")
_MOST_TAGS, _TAG_KEY, _TAG_VALUE = 30, 128, 256  # of 50; the launcher's own need some


@dataclass(frozen=True, slots=True)
class Network:
    """Where a pool's tasks stand, in awsvpc mode."""

    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: bool = False


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long each part of a runner's life may take, in seconds."""

    provisioning: int
    """From RunTask to placed, where a capacity provider has to start a machine first."""
    boot: int
    """From placed to online."""
    idle: int
    """From online to a job."""
    life: int
    """From placed to the end, whatever GitHub says."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What can be started, for which labels and for whom."""

    name: str
    offer: Offer
    task_definition: str
    """Family, family:revision or ARN."""
    cluster: str
    container: str
    """The runner's container in the task definition."""
    launch_type: str | None
    capacities: tuple[str, ...]
    """Capacity providers in the order in which they are tried; with none of both, the cluster's."""
    cpu: int | None
    """CPU units; None leaves it to the task definition, as for the next two."""
    memory: int | None
    """MiB."""
    ephemeral_storage: int | None
    """GiB."""
    network: Network
    clocks: Clocks
    maximum: int
    """Starts under way and living runners, together."""
    minimum: int
    """Warm runners where no schedule covers the hour."""
    schedules: tuple[Schedule, ...]
    access: Access
    runner_group: str | None
    token: str
    """JUST_IN_TIME or REGISTRATION."""
    tags: Mapping[str, str] = field(default_factory=dict)
    rerun_interrupted: bool = False
    """Whether a run is run again, once and without Spot, when Spot took a task with its job."""

    def without_spot(self) -> Pool:
        """Return the pool as it is without Spot capacity; unchanged where it has nothing else."""
        kept = tuple(name for name in self.capacities if "spot" not in name.lower())
        if kept or FARGATE_SPOT not in self.capacities:
            return replace(self, capacities=kept or self.capacities)
        # The cluster may not have the provider FARGATE; as launch type it is there always.
        return replace(self, capacities=(), launch_type=FARGATE)

    def minimum_at(self, now: datetime) -> int:
        """Return how many runners are to be warm at `now`, which has a time zone."""
        covering = [schedule.minimum for schedule in self.schedules if schedule.covers(now)]
        return max(covering, default=self.minimum)


@dataclass(frozen=True, slots=True)
class Pools:
    """All pools of a document, by name and in its order."""

    by_name: Mapping[str, Pool]

    def __iter__(self) -> Iterator[Pool]:
        """Go through the pools."""
        return iter(self.by_name.values())

    @property
    def offers(self) -> dict[str, Offer]:
        """Return what each pool offers, for `launcher.labels`."""
        return {pool.name: pool.offer for pool in self}

    def rank(self, labels: Iterable[str]) -> Iterator[tuple[Pool, Match]]:
        """Yield the pools that match the labels, the best first."""
        for match in rank(labels, self.offers):
            yield self.by_name[match.pool], match


@dataclass(frozen=True, slots=True)
class Problems:
    """Why a document cannot be used: one line for every mistake."""

    lines: tuple[str, ...]


def parse_pools(text: str, room: int | None = None) -> Pools | Problems:
    """Read a document of pools. `room`: the bytes of where it is kept, such as an SSM parameter."""
    if too_long := _check_length(text, LONGEST_DOCUMENT if room is None else room):
        return Problems((too_long,))
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Problems((f"the pools are not TOML: {reason}",))
    return read_document(document)


def read_document(document: dict[str, Any]) -> Pools | Problems:
    """Read a document that is parsed already."""
    mistakes = Mistakes()
    pools = _read_document(document, mistakes)
    if lines := mistakes.lines():
        return Problems(lines)
    return Pools(MappingProxyType({pool.name: pool for pool in pools}))


def _check_length(text: str, room: int) -> str | None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size <= room:
        return None
    advice = {
        STANDARD_PARAMETER: f"an Advanced parameter holds {ADVANCED_PARAMETER}",
        ADVANCED_PARAMETER: "use [[template]], several parameters, or a file",
    }
    return f"the pools have {size} bytes, and {room} is the limit: " + advice.get(
        room, "use [[template]]"
    )


def _read_document(document: dict[str, Any], mistakes: Mistakes) -> list[Pool]:
    top = Table(document, mistakes, "")
    tables = [
        *_expand_pools(_raw_tables(top, "pool"), mistakes),
        *_expand_templates(_raw_tables(top, "template"), mistakes),
    ]
    top.finish()
    if not tables and top.right("pool", "template"):
        mistakes.add("the document has neither [[pool]] nor [[template]]")
    if len(tables) > MOST_POOLS:
        mistakes.add(f"the document has {len(tables)} pools, and {MOST_POOLS} is the limit")
        return []
    pools = [_read_pool(table) for table in tables]
    _check_names(pools, tables)
    _check_patterns(pools, tables)
    return pools


def _raw_tables(top: Table, key: str) -> list[dict[str, Any]]:
    value = top.taken(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        top.report(key, f"must be tables: write [[{key}]]")
        return []
    return value


def _expand_pools(raw: list[dict[str, Any]], mistakes: Mistakes) -> Iterator[Table]:
    for number, values in enumerate(raw, 1):
        yield Table(values, mistakes, _title("pool", values, number))


def _expand_templates(raw: list[dict[str, Any]], mistakes: Mistakes) -> Iterator[Table]:
    """Make a table of a pool for each size of each template."""
    for number, values in enumerate(raw, 1):
        where = _title("template", values, number)
        sizes = values.get("sizes")
        if not isinstance(sizes, dict) or not sizes:
            mistakes.add(where, "sizes", "must be a table of sizes: small = { cpu = 1024, ... }")
            continue
        if SIZE not in str(values.get("name", "")):
            mistakes.add(where, "name", f"must contain {SIZE}, so that each size has its own name")
            continue
        common = {key: value for key, value in values.items() if key != "sizes"}
        for size, own in sizes.items():
            if not isinstance(own, dict):
                mistakes.add(where, "sizes", f"{size} must be a table: {{ cpu = 1024, ... }}")
            else:
                merged = {**_replace_size(common, size), **own}
                yield Table(merged, mistakes, _place_of(where, size, own))


def _place_of(where: str, size: str, own: Mapping[str, Any]) -> Callable[[str], str]:
    """Make what says where a key was written: a template's mistake is told once, not per size."""
    return lambda key: f"{where}, size {size!r}" if key in own else where


def _replace_size(value: Any, size: str) -> Any:
    match value:
        case str():
            return value.replace(SIZE, size)
        case list():
            return [_replace_size(item, size) for item in value]
        case dict():
            return {key: _replace_size(item, size) for key, item in value.items()}
        case _:
            return value


def _title(kind: str, values: Mapping[str, Any], number: int) -> str:
    name = values.get("name")
    return f"{kind} {name[:60]!r}" if isinstance(name, str) and name else f"{kind} {number}"


def _read_pool(table: Table) -> Pool:
    name = table.required_text("name", _check_name)
    offer = _read_offer(table)
    launch_type = table.choice("launch_type", (FARGATE, EC2), "") or None
    capacities = table.texts("capacities", _check_provider, most=6)
    if launch_type and capacities:
        table.report("capacities", "must be left out where launch_type is set: ECS takes only one")
    fargate = launch_type == FARGATE or bool({FARGATE, FARGATE_SPOT}.intersection(capacities))
    maximum = table.number("maximum", 10, 1, MOST_RUNNERS)
    minimum, schedules = _read_minimum(table, maximum)
    pool = Pool(
        name=name,
        offer=offer,
        task_definition=table.required_text("task_definition", _check_definition),
        cluster=table.text("cluster", "default", _check_cluster),
        container=table.text("container", "runner", _check_container),
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
        runner_group=table.text("runner_group", "", _check_group_name) or None,
        token=table.choice("token", (JUST_IN_TIME, REGISTRATION), JUST_IN_TIME),
        tags=MappingProxyType(_read_tags(table)),
        rerun_interrupted=table.flag("rerun_interrupted", default=False),
    )
    _check_size(table, pool, fargate=fargate)
    _check_registered(table, pool)
    table.finish()
    return pool


def _read_offer(table: Table) -> Offer:
    labels = table.texts("labels", _check_label, most=90)
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
        table.texts("subnets", _matching(_SUBNET, "must be the id of a subnet"), most=16),
        table.texts("security_groups", _matching(_GROUP, "must be the id of a group"), most=5),
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
    tags = table.pairs("tags", _check_tag)
    if len(tags) > _MOST_TAGS:
        table.report("tags", f"must be {_MOST_TAGS} at most, and are {len(tags)}")
    return tags


def _check_size(table: Table, pool: Pool, *, fargate: bool) -> None:
    """Check what Fargate refuses: sizes, the network, systems."""
    if not fargate or not table.right("launch_type", "capacities"):
        return
    if not pool.network.subnets and table.right("subnets"):
        table.report("subnets", "is required on Fargate")
    if table.right("cpu", "memory"):
        _check_fargate_size(table, pool)
    if pool.offer.system != "windows":
        return
    if pool.offer.architecture != "x64":
        table.report("architecture", "must be x64: Fargate has no other Windows")
    if FARGATE_SPOT in pool.capacities:
        table.report("capacities", "must not have FARGATE_SPOT: it has no Windows")
    if pool.ephemeral_storage is not None:
        table.report("ephemeral_storage", "must be left out: Fargate does not take it for Windows")


def _check_fargate_size(table: Table, pool: Pool) -> None:
    if (pool.cpu is None) != (pool.memory is None):
        set_, other = ("cpu", "memory") if pool.memory is None else ("memory", "cpu")
        table.report(other, f"is required where {set_} is set: Fargate takes both or none")
    if pool.cpu is None or pool.memory is None:
        return
    sizes = _WINDOWS_CPU if pool.offer.system == "windows" else tuple(_FARGATE_SIZES)
    if pool.cpu not in sizes:
        shown = ", ".join(map(str, sizes))
        table.report("cpu", f"must be one of {shown} on Fargate, not {pool.cpu}")
    elif pool.memory not in (memory := _FARGATE_SIZES[pool.cpu]):
        step = "" if isinstance(memory, tuple) else f" in steps of {memory.step}"
        rule = f"must be {memory[0]} to {memory[-1]}{step} where cpu is {pool.cpu} on Fargate"
        table.report("memory", f"{rule}, not {pool.memory}")


def _check_registered(table: Table, pool: Pool) -> None:
    """Check what only a just-in-time configuration can register."""
    if pool.token == REGISTRATION and any("," in label for label in pool.offer.labels):
        table.report("labels", "must have no ',' with token = 'registration': the runner splits it")


def _check_names(pools: list[Pool], tables: list[Table]) -> None:
    seen: set[str] = set()
    for pool, table in zip(pools, tables, strict=True):
        if pool.name in seen and pool.name:
            table.report("name", f"is used twice: {pool.name}")
        seen.add(pool.name)


def _check_patterns(pools: list[Pool], tables: list[Table]) -> None:
    """Refuse a pattern that stands for a label of some pool: it would serve that pool's jobs."""
    labels = {label: pool.name for pool in pools for label in pool.offer.labels}
    taken = {
        pattern: [label for label in sorted(labels) if pattern.matches(label)]
        for pattern in {pattern for pool in pools for pattern in pool.offer.patterns}
    }
    for pool, table in zip(pools, tables, strict=True):
        for pattern in pool.offer.patterns:
            for label in taken[pattern][:1]:
                shown = f"matches {label!r}, a label of {labels[label]}"
                table.report("patterns", f"'{pattern}' {shown}")


def _matching(rule: re.Pattern[str], message: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not rule.fullmatch(text):
            raise ValueError(message)

    return check


_check_name = _matching(_NAME, "must be 1 to 40 lower-case letters, digits and '-'")
_check_provider = _matching(_PROVIDER, "must be FARGATE, FARGATE_SPOT or a provider's name")
_check_cluster = _matching(_CLUSTER, "must be the name or ARN of a cluster")
_check_definition = _matching(_DEFINITION, "must be a family, family:revision or an ARN")
_check_container = _matching(_CONTAINER, "must be the name of a container")


def _check_label(text: str) -> None:
    if text.lower() in SYSTEM_LABELS:
        message = "is the system's own label; set os and architecture instead"
        raise ValueError(message)
    if not text.strip() or text != text.strip() or not text.isprintable() or text[0] == "-":
        message = "must be printable, without spaces around it or '-' before it"
        raise ValueError(message)
    if len(text) > LABEL_LENGTH:
        message = f"must have {LABEL_LENGTH} characters at most"
        raise ValueError(message)
    if "*" in text:
        message = "has a '*'; put it into patterns"
        raise ValueError(message)


def _check_group_name(text: str) -> None:
    if not text.isprintable() or text.startswith("-") or len(text) > _TAG_VALUE:
        message = "must be the name of a runner group"
        raise ValueError(message)


def _check_tag(key: str, value: str) -> None:
    if not 1 <= len(key) <= _TAG_KEY or not _TAG.fullmatch(key) or key.lower().startswith("aws:"):
        message = f"must be 1 to {_TAG_KEY} characters that AWS takes, not beginning with aws:"
        raise ValueError(message)
    if len(value) > _TAG_VALUE or not _TAG.fullmatch(value):
        message = f"must have {_TAG_VALUE} characters at most, letters, digits and _.:/=+-@"
        raise ValueError(message)
