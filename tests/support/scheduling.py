"""Decide which tests run at the same time, on which worker, and which one alone.

`tests/conftest.py` takes the hooks of pytest and xdist from here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.alone import hold_machine
from tests.support.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CROWDS = (
    "tests/adversary/test_ends_with_little.py",
    "tests/bench",
    "tests/failures",
    "tests/lives/test_hostile_jobs.py",
    "tests/soak",
)
"""Tests that run many lives at once, or measure one: never two of these at the same time."""
TOLD_ONCE = "tests/deploy/test_deployed.py"
"""Tests of one long story: each worker that had one of them would play all of it."""
SHARED_FOLDER = pytest.StashKey[Path]()
"""The folder that all processes of one run share."""


def share_folder(config: pytest.Config) -> None:
    """Make the folder of the run, or take the one that its first process has made."""
    if hasattr(config, "workerinput"):
        config.stash[SHARED_FOLDER] = Path(config.workerinput["shared_folder"])
    else:
        folder = tempfile.TemporaryDirectory(prefix="tests-")
        config.add_cleanup(folder.cleanup)
        config.stash[SHARED_FOLDER] = Path(folder.name)


@pytest.hookimpl(optionalhook=True)  # xdist's, which -p no:xdist leaves out
def pytest_configure_node(node: Any) -> None:
    """Tell a worker which folder it shares with the others."""
    node.workerinput["shared_folder"] = str(node.config.stash[SHARED_FOLDER])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests that run alone last, and name them to the scheduler, which sees only ids."""
    items.sort(key=_is_alone)
    ids = "".join(f"{item.nodeid}\n" for item in items if _is_alone(item))
    (config.stash[SHARED_FOLDER] / f"alone-{os.getpid()}").write_text(ids, encoding="utf-8")


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run one test with all its fixtures; no other test meanwhile if it judges time."""
    folder = item.config.stash[SHARED_FOLDER]
    with hold_machine(folder, alone=_is_alone(item)), measure(item.nodeid):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one worker each to: the tests that fill the machine, docker engines, images, Windows.

    The tests that run alone come last, on one worker: then they wait for few others. xdist's own
    groups do not work: pytest 9.2 does not look at what they append to a test's id.
    """
    from xdist.scheduler import LoadScopeScheduling  # neither there nor needed with -p no:xdist

    class Grouped(LoadScopeScheduling):
        def schedule(self) -> None:
            lists = config.stash[SHARED_FOLDER].glob("alone-*")
            self._alone = {line for path in lists for line in path.read_text("utf-8").splitlines()}
            super().schedule()

        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid, self._alone)

        def _assign_work_unit(self, node: Any) -> None:
            if "alone" in self.workqueue:
                self.workqueue.move_to_end("alone")
            super()._assign_work_unit(node)

    return Grouped(config, log)


def _group(test: str, alone: Collection[str] = ()) -> str:
    if test.startswith("tests/images/"):
        return "images"
    if test.startswith("tests/windows/"):
        return "windows"
    if test.startswith("tests/engines/"):
        return "debian-12" if "debian-12" in test else "debian-13"
    if test in alone:
        return "alone"
    if test.startswith(CROWDS):
        return "crowds"
    if test.startswith(TOLD_ONCE):
        return TOLD_ONCE
    return test
