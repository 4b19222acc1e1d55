"""A Windows for the tests of this folder, where this machine can build one."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.windows.wine import Wine

PLAY_ALL = os.environ.get("WINDOWS_TESTS") == "all"
"""Whether tests that repeat a kind of life are played too; wine is slow."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are marked `again`, unless all are asked for."""
    again = [each for each in items if not PLAY_ALL and each.get_closest_marker("again")]
    if again:
        config.hook.pytest_deselected(items=again)
        items[:] = [each for each in items if each not in again]


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """Return a Windows that the tests of one session share; skip where there can be none."""
    from tests.windows import toolchain  # late: Windows itself cannot import it
    from tests.windows.wine import Wine

    if missing := toolchain.find_missing():
        pytest.skip(f"needs wine: {missing} (make test-windows)")
    if not toolchain.is_built() and os.environ.get("REQUIRE_WINDOWS") != "1":
        pytest.skip("needs wine: make test-windows builds it")
    with Wine(toolchain.create(), tmp_path_factory.mktemp("wine")) as running:
        yield running


@pytest.fixture(params=["3.11", "3.13"])
def version(request: pytest.FixtureRequest) -> str:
    """Return the version of a Windows Python, each in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def find_runner(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give what returns the runner's folder for a version of Python: one to be copied."""

    @functools.cache
    def find(version: str) -> Path:
        from tests.windows import life

        return life.install_runner(wine, version, tmp_path_factory.mktemp("runner"))

    return find


@pytest.fixture
def open_one(
    request: pytest.FixtureRequest, wine: Wine, find_runner: Callable[[str], Path]
) -> Callable[..., object]:
    """Give what opens the stage of a life; a test may name another Python than 3.11."""
    from tests.windows import life

    version = getattr(request, "param", "3.11")
    return functools.partial(life.open_windows_stage, wine, version, find_runner(version))
