"""Translate a launch into an item of the table, and back."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from launcher.record.launch import Launch
from launcher.record.table import EXPIRES, KEY, make_number

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCH: Final = "launch"
"""The attribute of a task's item that holds the id of its launch."""
_FIELDS: Final = tuple(field.name for field in fields(Launch) if field.name != KEY)
_NUMBERS: Final = frozenset(
    {"first_seen", "tries", "failures", "round", "step", "turn", "due", "placed_at"}
    | {"generation", "announced_at", "runner_id", "taken_at", "thefts", "lease_until", "version"}
)
_FRACTIONS: Final = frozenset(
    {"first_seen", "due", "placed_at", "announced_at", "taken_at", "lease_until"}
)
_LISTS: Final = frozenset({"reasons", "counters"})
_FLAGS: Final = frozenset(
    {"may_exist", "handed_over", "keeps_token", "may_be_left", "online", "served", "ended"}
)


OF_LAUNCH: Final = "launch#"
OF_TASK: Final = "task#"
"""How the keys of these items begin."""


def launch_key(launch_id: str) -> dict[str, Any]:
    """Return the key of a launch's item."""
    return {KEY: {"S": f"{OF_LAUNCH}{launch_id}"}}


def task_key(task: str) -> dict[str, Any]:
    """Return the key of the item that says whose a task is."""
    return {KEY: {"S": f"{OF_TASK}{task}"}}


def update_launch(table: str, launch: Launch, expires: float) -> dict[str, Any]:
    """Make the update of a record: only known attributes, so that a newer version's stay."""
    values = {name: _encode(getattr(launch, name)) for name in _FIELDS}
    values[EXPIRES] = make_number(int(expires))
    kept = {name: value for name, value in values.items() if value is not None}
    removed = [f"#{name}" for name in values if name not in kept]
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in kept)
    expression += f" REMOVE {', '.join(removed)}" if removed else ""
    is_new = launch.version == 1
    bound = {f":{name}": value for name, value in kept.items()}
    if not is_new:
        bound[":before"] = make_number(launch.version - 1)
    return {
        "TableName": table,
        "Key": launch_key(launch.id),
        "UpdateExpression": expression,
        "ConditionExpression": (
            "attribute_not_exists(#version)" if is_new else "#version = :before"
        ),
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": bound,
    }


def index_task(table: str, task: str, launch_id: str, expires: float) -> dict[str, Any]:
    """Make the update that writes down whose task it is."""
    return {
        "TableName": table,
        "Key": task_key(task),
        "UpdateExpression": "SET #launch = :launch, #expires = :expires",
        "ExpressionAttributeNames": {"#launch": LAUNCH, "#expires": EXPIRES},
        "ExpressionAttributeValues": {
            ":launch": {"S": launch_id},
            ":expires": make_number(int(expires)),
        },
    }


def _encode(value: object) -> dict[str, Any] | None:
    match value:
        case None:
            return None
        case bool():
            return {"BOOL": value}
        case int() | float():
            return make_number(value)
        case tuple():
            return {"L": [{"S": str(item)} for item in value]}
        case _:
            return {"S": str(value)}


def read_launch(item: Mapping[str, Any]) -> Launch:
    """Read a record. What an older version did not write has its default."""
    found = {name: _decode_value(name, item[name]) for name in _FIELDS if name in item}
    blank = Launch(item[KEY]["S"].removeprefix(OF_LAUNCH), "", "", 0.0)
    return replace(blank, **found)


def _decode_value(name: str, value: Mapping[str, Any]) -> Any:
    if name in _LISTS:
        return tuple(entry["S"] for entry in value["L"])
    if name in _FLAGS:
        return value["BOOL"]
    if name in _FRACTIONS:
        return float(value["N"])
    return int(value["N"]) if name in _NUMBERS else value["S"]
