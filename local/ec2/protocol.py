"""Speak EC2's query protocol by the library's own description of it.

A request's form becomes the arguments that a caller of the library gives, and an answer becomes
XML. Both are judged by the shapes of that description: nothing is answered that EC2 does not have.
"""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from botocore.session import Session
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


class UnknownOperationError(Exception):
    """EC2 has no such operation."""


@functools.cache
def _model() -> Any:
    return Session().get_service_model("ec2")


def read_request(operation: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Read the arguments of a request. Raises ValueError where EC2 has no such argument."""
    if operation not in _model().operation_names:
        raise UnknownOperationError(operation)
    shape = _model().operation_model(operation).input_shape
    given = {key: value for key, value in form.items() if key not in ("Action", "Version")}
    tree: dict[str, Any] = {}
    for key, value in given.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    arguments = dict(_read(shape, tree))
    _judge(shape, arguments)
    return arguments


def _read(shape: Any, node: Any) -> Any:
    match shape.type_name:
        case "structure":
            names = {_form_name(name, member): name for name, member in shape.members.items()}
            unknown = set(node) - set(names)
            if unknown:
                raise ValueError(f"unknown parameters: {sorted(unknown)}")
            return {names[key]: _read(shape.members[names[key]], node[key]) for key in node}
        case "list":
            return [_read(shape.member, node[key]) for key in sorted(node, key=int)]
        case "boolean":
            return node == "true"
        case "integer" | "long":
            return int(node)
        case "float" | "double":
            return float(node)
        case "blob":
            return base64.b64decode(node)
    return node


def _form_name(name: str, shape: Any) -> str:
    given = shape.serialization
    if "queryName" in given:
        return str(given["queryName"])
    own = str(given.get("name", name))
    return own[0].upper() + own[1:]


def write_answer(operation: str, answer: dict[str, Any], request: str) -> bytes:
    """Write an answer, after it is judged."""
    shape = _model().operation_model(operation).output_shape
    root = ET.Element(f"{operation}Response", xmlns=NAMESPACE)
    ET.SubElement(root, "requestId").text = request
    if shape is not None:
        _judge(shape, answer)
        for name, value in answer.items():
            _write(root, shape.members[name], name, value)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def write_error(code: str, text: str, request: str) -> bytes:
    """Write an error as EC2 does."""
    root = ET.Element("Response")
    error = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
    ET.SubElement(error, "Code").text = code
    ET.SubElement(error, "Message").text = text
    ET.SubElement(root, "RequestID").text = request
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _write(parent: ET.Element, shape: Any, name: str, value: Any) -> None:
    element = ET.SubElement(parent, str(shape.serialization.get("name", name)))
    match shape.type_name:
        case "structure":
            for key, each in value.items():
                _write(element, shape.members[key], key, each)
        case "list":
            for each in value:
                _write(element, shape.member, "item", each)
        case "boolean":
            element.text = "true" if value else "false"
        case "timestamp":
            element.text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        case _:
            element.text = str(value)


def _judge(shape: Any, value: Any) -> None:
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise ValueError(report.generate_report())


def moment(seconds: float) -> datetime:
    """Make a time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
