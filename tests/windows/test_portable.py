"""The tests of single parts, played by a Windows Python on the repository's own tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.windows import portable

TESTS = Path(__file__).parents[1]
OPTIONS = ("-q", "-n0", "-p", "no:cacheprovider", "--no-header", "-o", "faulthandler_timeout=120")
MOST = (
    *portable.SYSTEM,
    *(f"tests/unit/{part}" for part in ("cli", "log", "runner", "shutdown")),
    "tests/unit/relay/test_relay.py",
)
OTHERS = ("tests/unit", *(f"--ignore={path}" for path in MOST))
START = "tests/entrypoint/test_start_windows.py"
LIMIT = 1500.0
"""Seconds; on a busy machine the longest takes a quarter of it."""


@pytest.mark.parametrize(
    ("version", "paths"),
    [
        pytest.param("3.13", portable.SYSTEM, id="system-3.13"),
        pytest.param("3.11", (*MOST, START), id="most-3.11"),
        pytest.param("3.11", OTHERS, id="others-3.11", marks=pytest.mark.again),
    ],
)
def test_portable_tests_pass_on_windows(wine, version, paths, record_property):
    """What holds on Linux for one part at a time holds on Windows too."""
    # Its own cached bytecode would stand beside that of Linux, with other names of files in it.
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    argv = (wine.python(version), "-m", "pytest", *OPTIONS, *paths)
    program = wine.start(argv, env=env, cwd=TESTS.parent)
    code = program.wait(LIMIT)
    said = program.wait_for_output()  # the end may be told before the last lines are
    assert code == 0, said[-20000:]
    record_property(f"Windows, Python {version}", program.lines[-1])


def test_what_is_left_out_is_there():
    """Each module and each test that is not for Windows exists, and so its reason is looked at."""
    assert all([*TESTS.glob(name)] for name in portable.MODULES)
    for name in portable.TESTS:
        path, _, function = name.partition("::")
        tree = ast.parse((TESTS / path).read_text())
        assert function in [node.name for node in tree.body if hasattr(node, "name")], name
