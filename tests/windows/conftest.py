"""A Windows for the tests of this folder, where this machine can build one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.windows.wine import Wine


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
