"""Read the templates as CloudFormation does: short tags become functions."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import yaml

from launcher.deploy.stack import read_template

if TYPE_CHECKING:
    from collections.abc import Iterator

LAUNCHER, RUNNERS, API, ACCOUNT = "launcher.yaml", "runners.yaml", "api.yaml", "account.yaml"
ALL = (LAUNCHER, RUNNERS, API, ACCOUNT)
NOTHING = {"Ref": "AWS::NoValue"}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags."""


def _construct(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {name: value}


_Loader.add_multi_constructor("!", _construct)


@functools.cache
def read(name: str) -> dict[str, Any]:
    """Read one of the shipped templates."""
    found: dict[str, Any] = yaml.load(read_template(name), _Loader)  # noqa: S506  a SafeLoader
    return found


def resources(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by name."""
    found = read(name)["Resources"]
    return {key: each.get("Properties", {}) for key, each in found.items() if each["Type"] == kind}


def variant(name: str, *true: str) -> dict[str, Any]:
    """Return a template as a stack has it in which the conditions `true` hold, and no others."""
    found = read(name)
    assert set(true) <= set(list_switches(name))
    true = (*true, *(key for key, each in found["Conditions"].items() if _holds(each, true)))
    left: dict[str, Any] = _resolve({key: found[key] for key in ("Resources", "Outputs")}, true)
    for part in left.values():
        for key, each in list(part.items()):
            if each.get("Condition", true) not in (true, *true):
                del part[key]
    return left


def list_switches(name: str) -> list[str]:
    """List the conditions of a template that follow from no other one."""
    return [key for key, each in read(name)["Conditions"].items() if "Fn::Or" not in each]


def _holds(condition: Any, true: tuple[str, ...]) -> bool:
    return any(each["Condition"] in true for each in condition.get("Fn::Or", []))


def _resolve(value: Any, true: tuple[str, ...]) -> Any:
    match value:
        case {"Fn::If": [condition, then, otherwise]}:
            return _resolve(then if condition in true else otherwise, true)
        case dict():
            pairs = ((key, _resolve(each, true)) for key, each in value.items())
            return {key: each for key, each in pairs if each != NOTHING}
        case list():
            return [each for each in (_resolve(item, true) for item in value) if each != NOTHING]
        case _:
            return value


def find_references(value: Any) -> Iterator[str]:
    """Yield what a part of a template refers to: names of resources and parameters."""
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), _]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from (each.partition(".")[0] for each in re.findall(r"\$\{([\w:.]+)\}", text))
        case dict():
            for key, each in value.items():
                names = [each] if isinstance(each, str) else each
                yield from names if key == "DependsOn" else find_references(each)
        case list():
            for each in value:
                yield from find_references(each)
