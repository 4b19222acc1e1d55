"""Common setup: no test reaches AWS, and no test is skipped unseen.

Fixtures for all: `aws` (an empty SSM and STS) and `started` (a program that prints "ready URL").
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from local import aws as local_aws
from local import programs
from tests.support.scheduling import (  # noqa: F401  pytest calls these hooks
    pytest_collection_modifyitems,
    pytest_configure_node,
    pytest_runtest_protocol,
    pytest_xdist_make_scheduler,
    share_folder,
)
from tests.windows import portable

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
JUDGES = ROOT / "tests" / "judges" / "node_modules"

# A developer's own account, proxies and settings must not reach a test, nor a test them.
PRIVATE = re.compile(
    r"(AWS|ECS|SIDECAR|GITHUB|GH|RUNNER|ACTIONS|BOTO)_.*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE
)
HARMLESS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": local_aws.REGION,
    "AWS_DEFAULT_REGION": local_aws.REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    # Nothing listens on port 9: a client that was given no endpoint is refused at once.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}
REQUIRED = os.environ.get("REQUIRE_DOCKER") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Clean the environment before anything is imported or started; let interrupts through."""
    share_folder(config)
    for name in [name for name in os.environ if PRIVATE.fullmatch(name)]:
        del os.environ[name]
    os.environ.update(HARMLESS)
    # A shell starts its background jobs with SIGINT ignored, and their children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# --- which tests are for this system --------------------------------------------------------------

ON_WINDOWS = sys.platform == "win32"
collect_ignore_glob = [*portable.MODULES] if ON_WINDOWS else ["unit/*/test_windows_*.py"]
"""On Linux, `tests/windows` plays what is ignored here."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skip what is not for this system."""
    name = item.nodeid.partition("[")[0].removeprefix("tests/")
    if ON_WINDOWS and (reason := portable.TESTS.get(name)):
        item.add_marker(pytest.mark.skip(reason=reason))


# --- what a marked test needs -------------------------------------------------------------------


def _root() -> str | None:
    return None if hasattr(os, "geteuid") and os.geteuid() == 0 else "needs root"


def _docker() -> str | None:
    tools = ("dockerd", "iptables", "ip", "nsenter", "setpriv", "debootstrap")
    wanted = [tool for tool in tools if not shutil.which(tool)]
    return _root() or (f"needs {', '.join(wanted)} on PATH" if wanted else None)


def _node() -> str | None:
    if not shutil.which("node"):
        return "needs node on PATH"
    return None if JUDGES.is_dir() else "needs the judges: npm ci --prefix tests/judges"


def _shellcheck() -> str | None:
    return None if shutil.which("shellcheck") else "needs shellcheck on PATH"


NEEDS = {"root": _root, "docker": _docker, "node": _node, "shellcheck": _shellcheck}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where it cannot run, and say why."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) and (reason := missing()):
            pytest.skip(reason)


def _unskipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn every skip into a failure under REQUIRE_DOCKER=1."""
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_DOCKER=1 allows no skip: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Look at what each test reports."""
    report = yield
    _unskipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Look at what each file reports while it is collected."""
    report = yield
    _unskipped(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded by `record_property`, whichever worker ran them."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                terminalreporter.write_line(f"{name}: {value}")


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    """Collect what the tests of a file left open: its warning fails the file's last test.

    Else it would fail any test that comes later, once in a while.
    """
    yield
    gc.collect()


@pytest.fixture(autouse=True, scope="session")
def _keep_no_logger() -> Iterator[None]:
    """Let no logger keep how it was configured, as a program's own logger does for speed.

    A program that runs in the test's process would else write the log of all later tests.
    """
    configure = structlog.configure

    def configure_without_cache(**given: Any) -> None:
        configure(**{**given, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(structlog, "configure", configure_without_cache)
        yield


@pytest.fixture(autouse=True)
def _restore_log() -> Iterator[None]:
    """Undo how a test, or a program in its process, configured the log."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def _moto():
    with local_aws.serving() as url:
        yield url


@pytest.fixture
def aws(_moto: str) -> str:
    """Return the endpoint of an empty SSM and STS (see `local.aws` for helpers)."""
    local_aws.reset(_moto)
    return _moto


@pytest.fixture
def started():
    """Give what starts `python ARGV...`, waits for its line "ready URL" and returns the URL."""
    with ExitStack() as stack:
        yield lambda *argv, **env: stack.enter_context(
            programs.run(*argv, env={**os.environ, **env})
        )


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Return a folder of the test's own that other users may enter.

    It is not in pytest's: every pytest that starts closes its folder to other users again.
    """
    with tempfile.TemporaryDirectory(prefix="open-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
