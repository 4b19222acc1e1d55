"""Read the templates as CloudFormation does: short tags become functions."""

from __future__ import annotations

import functools
from typing import Any

import yaml

from launcher.deploy.stack import read_template


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
