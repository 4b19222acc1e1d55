"""Merge the parameters of RunTask that a user writes with a request: deeply, the request wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = {
    "containerOverrides": "name",
    "environment": "name",
    "resourceRequirements": "type",
    "tags": "key",
}
"""Lists whose items have a key: of two items with the same key the later one wins."""
OWN = ("clientToken", "count", "startedBy")
"""Parameters that the launcher sets itself: a task is recognised by them."""


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings, the later over the earlier, at every depth.

    Lists of items with a key are merged item by item; every other list is replaced as a whole.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[name] = _merge_value(name, merged.get(name), value)
    return merged


def _merge_value(name: str, old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return merge(old, new)
    if name in KEYS and isinstance(old, list) and isinstance(new, list):
        return _merge_items(KEYS[name], old, new)
    return new


def _merge_items(key: str, old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    items: dict[Any, Any] = {}
    for item in (*old, *new):
        items[item[key]] = merge(items.get(item[key], {}), item)
    return list(items.values())


def check(params: object) -> list[str]:
    """Check a document of parameters by AWS's own description of RunTask; return the mistakes."""
    from botocore.session import Session  # late: only who has such a document pays for them
    from botocore.validate import ParamValidator

    if not isinstance(params, dict):
        return ["must be a JSON object of the parameters of RunTask"]
    shape = Session().get_service_model("ecs").operation_model("RunTask").input_shape
    report = ParamValidator().validate({"taskDefinition": "any", **params}, shape)
    problems: list[str] = [line for line in report.generate_report().splitlines() if line]
    return problems or _find_nameless(params)


def _find_nameless(params: Mapping[str, Any], path: str = "") -> list[str]:
    """Find items without the key by which they are merged."""
    found = []
    for name, value in params.items():
        where = f"{path}{name}"
        if isinstance(value, dict):
            found += _find_nameless(value, f"{where}.")
        elif name in KEYS:
            for item in value:
                if KEYS[name] not in item:
                    found.append(f"{where} has an item without {KEYS[name]!r}")
                found += _find_nameless(item, f"{where}.")
    return found
