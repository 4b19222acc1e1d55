"""Read a document of pools.

A document is TOML. It is read whole: `parse_pools` gives the pools, or one line for every mistake.
It changes nothing by itself, so whoever reloads a document keeps the old pools when it gets
`Problems`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from launcher.pools.callers import read_caller, read_garo
from launcher.pools.pool import Pools
from launcher.pools.pool_table import read_pool
from sidecar.documents.tables import Mistakes, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from launcher.pools.callers import Caller, GaroCaller
    from launcher.pools.pool import Pool

    Named = Pool | Caller | GaroCaller

STANDARD_PARAMETER, ADVANCED_PARAMETER = 4096, 8192
"""Bytes of an SSM parameter's value, by its tier (SSM, PutParameter, "Value")."""
LONGEST_DOCUMENT = 1024 * 1024
MOST_POOLS = 200
SIZE = "{size}"


@dataclass(frozen=True, slots=True)
class Problems:
    """The mistakes of a document that cannot be used, one line for each."""

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
    return pools


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


def _read_document(document: dict[str, Any], mistakes: Mistakes) -> Pools:
    top = Table(document, mistakes, "")
    tables = [
        *_expand("pool", _raw_tables(top, "pool"), mistakes),
        *_expand_templates(_raw_tables(top, "template"), mistakes),
    ]
    raw_callers, raw_garo = _raw_tables(top, "caller"), _raw_tables(top, "garo")
    top.finish()
    if not tables and top.right("pool", "template"):
        mistakes.add("the document has neither [[pool]] nor [[template]]")
    if len(tables) > MOST_POOLS:
        mistakes.add(f"the document has {len(tables)} pools, and {MOST_POOLS} is the limit")
        return Pools({})
    pools = [read_pool(table) for table in tables]
    _check_names(pools, tables)
    _check_patterns(pools, tables)
    by_name = MappingProxyType({pool.name: pool for pool in pools})
    callers = list(_expand("caller", raw_callers, mistakes))
    garo = list(_expand("garo", raw_garo, mistakes))
    names = frozenset(by_name)
    found = Pools(
        by_name,
        tuple(read_caller(table, names) for table in callers),
        tuple(read_garo(table, names) for table in garo),
    )
    _check_names((*found.callers, *found.garo), [*callers, *garo])
    return found


def _raw_tables(top: Table, key: str) -> list[dict[str, Any]]:
    value = top.taken(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        top.report(key, f"must be tables: write [[{key}]]")
        return []
    return value


def _expand(kind: str, raw: list[dict[str, Any]], mistakes: Mistakes) -> Iterator[Table]:
    for number, values in enumerate(raw, 1):
        yield Table(values, mistakes, _title(kind, values, number))


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
    """Make what names a key's place: a template's mistake is said once, not for each size."""
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


def _check_names(named: Sequence[Named], tables: list[Table]) -> None:
    seen: set[str] = set()
    for each, table in zip(named, tables, strict=True):
        if each.name in seen and each.name:
            table.report("name", f"is used twice: {each.name}")
        seen.add(each.name)


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
