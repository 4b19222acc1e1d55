"""Every file of `sidecar/host` exists for both systems, with the same public names."""

import ast
from pathlib import Path

import pytest

HOST = Path(__file__).parents[3] / "sidecar" / "host"


def list_topics(system):
    """Return what a system has files for."""
    return sorted(path.stem.removeprefix(system) for path in HOST.glob(f"{system}_*.py"))


def list_names(system, topic):
    """Return the public names that a file defines; of functions, with their parameters."""
    tree = ast.parse((HOST / f"{system}{topic}.py").read_text())
    names = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(f"{node.name}({ast.unparse(node.args)})")
            case ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names |= {ast.unparse(target) for target in node.targets}
    return {name for name in names if not name.startswith(("_", "(_"))}


def test_both_systems_have_the_same_files():
    """A new topic needs a file for each."""
    assert list_topics("posix") == list_topics("windows") != []


@pytest.mark.parametrize("topic", list_topics("posix"))
def test_both_systems_have_the_same_names(topic):
    """Functions also have the same parameters: what runs on one system runs on the other."""
    assert list_names("posix", topic) == list_names("windows", topic)


def test_every_file_is_part_of_the_seam():
    """`host/__init__.py` imports them all."""
    seam = (HOST / "__init__.py").read_text()
    for system in ("posix", "windows"):
        for topic in list_topics(system):
            assert f"from sidecar.host.{system}{topic} import *" in seam
