"""The promises of `conftest.py`, on test files made for the purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MARKED = '''
import pytest

@pytest.mark.{marker}
def test_marked():
    """Run where its needs are met."""
'''
SKIPPED = '''
import pytest

def test_skipped():
    """Skip itself."""
    pytest.skip("no wish to")

@pytest.mark.xfail
def test_known():
    """Fail as expected."""
    assert False
'''
SKIPPED_WHOLE = 'import pytest\npytest.importorskip("no_such_module_anywhere")\n'
CLEAN = '''
import os

def test_clean():
    """See nothing of the developer's."""
    kept = {name for name in os.environ if name.lower().startswith(("aws", "sidecar", "http"))}
    assert kept == {
        "AWS_EC2_METADATA_DISABLED", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL",
    }
    assert "real" not in os.environ.values()
'''

LEFT_OPEN = """
import socket

def test_leaves_a_socket():
    '''Make it garbage that only the collector finds.'''
    garbage = [socket.socket()]
    garbage.append(garbage)
"""


def judged(folder, text, **environment):
    """Run pytest on one file under our conftest; gives its exit code and all it said."""
    (folder / "test_made.py").write_text(text)
    ours = ("-c", ROOT / "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider")
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/nowhere", "HOME": "/nowhere", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ours, folder / "test_made.py"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (MARKED.format(marker="docker"), "needs dockerd, iptables"),
        (MARKED.format(marker="node"), "needs node on PATH"),
        (SKIPPED, "no wish to"),
        (SKIPPED_WHOLE, "no_such_module_anywhere"),
    ],
)
def test_a_skip_is_visible_and_in_ci_a_failure(tmp_path, text, reason):
    """Elsewhere what cannot run is skipped with its reason; in CI it fails with it."""
    if os.geteuid() and "docker" in text:
        reason = "needs root"
    code, said = judged(tmp_path, text)
    assert code in (0, 5)
    assert "SKIPPED" in said
    assert reason in said
    code, said = judged(tmp_path, text, REQUIRE_DOCKER="1")
    assert code in (1, 2)
    assert "REQUIRE_DOCKER=1 allows no skip: " in said
    assert reason in said
    assert "SKIPPED" not in said


def test_a_developer_s_environment_stays_outside(tmp_path):
    """Account, settings and proxies of whoever runs the tests are gone before any test."""
    names = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "SIDECAR_TOKEN", "GITHUB_TOKEN", "https_proxy")
    code, said = judged(tmp_path, CLEAN, **dict.fromkeys(names, "real"))
    assert code == 0, said


def test_what_a_file_leaves_open_fails_its_own_last_test(tmp_path):
    """It is not left to the test during which it happens to be collected."""
    code, said = judged(tmp_path, LEFT_OPEN)
    assert code == 1
    assert "ERROR at teardown of test_leaves_a_socket" in said
    assert "unclosed <socket.socket" in said
