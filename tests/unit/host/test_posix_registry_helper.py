"""The script before ECR's helper: it keeps what `docker login` stores, which the helper refuses."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

from sidecar import host

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script of a POSIX shell")

OWN = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
LOGIN = json.dumps({"ServerURL": OWN, "Username": "AWS", "Secret": 'a "quoted" word'})
REAL = """\
#!/bin/sh
# As the real one: it stores nothing, and its reason is in its log only.
case $1 in
    get) read -r registry
        mkdir -p "$AWS_ECR_CACHE_DIR/log"
        [ "$registry" != denied ] || { echo AccessDenied >"$AWS_ECR_CACHE_DIR/log/ecr-login.log"
            echo "credentials not found in native keychain"; exit 1; }
        printf '{"ServerURL":"%s","Username":"AWS","Secret":"token"}' "$registry" ;;
    list) echo '{}' ;;
    *) echo "not implemented"; exit 1 ;;
esac
"""


@pytest.fixture
def ask(tmp_path):
    """Return what calls the script as docker's client does: exit code, output, errors."""
    real, script, kept = tmp_path / "real", tmp_path / "script", tmp_path / "it's" / "kept"
    kept.parent.mkdir()
    real.write_text(REAL)
    script.write_text(host.build_registry_helper(str(real), kept))
    for program in (real, script):
        program.chmod(0o755)

    def call(verb, text=""):
        done = subprocess.run(
            [str(script), verb], input=text, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    call.kept = kept
    return call


def test_without_a_login_the_helper_is_asked(ask):
    """Its cache is in the folder that goes with the life."""
    code, said, _ = ask("get", OWN)
    assert (code, json.loads(said)["Secret"]) == (0, "token")
    assert ask.kept.joinpath("log").is_dir()


def test_a_login_is_kept_and_wins_until_the_logout(ask):
    """Whatever name its client has for the registry; only its user can read it."""
    assert ask("store", LOGIN)[0] == 0
    for name in (OWN, f"https://{OWN}", f"https://{OWN}/v2/\n"):
        code, said, _ = ask("get", name)
        assert (code, json.loads(said)) == (0, json.loads(LOGIN))
    (kept,) = ask.kept.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert ask("erase", OWN)[0] == 0
    assert json.loads(ask("get", OWN)[1])["Secret"] == "token"
    assert ask("erase", OWN)[0] == 0


def test_a_refusal_is_no_login_and_says_why(ask):
    """A client then goes on without a login; people see the reason in the step's output."""
    code, said, why = ask("get", "denied")
    assert (code, said) == (1, "credentials not found in native keychain")
    assert "AccessDenied" in why


def test_a_login_for_no_registry_is_refused(ask):
    """And a name leads nowhere else than into the folder."""
    assert ask("store", "{}")[0] == 1
    evil = json.dumps({"ServerURL": "../../evil", "Username": "x", "Secret": "y"})
    ask("store", evil)
    assert [path.name for path in ask.kept.parent.iterdir()] == ["kept"]


def test_a_path_may_hold_any_word(tmp_path):
    """Also one that stands in the script for something else."""
    kept = tmp_path / "HELPER SECONDS"
    script = host.build_registry_helper("/opt/KEPT", kept)
    assert f"kept='{kept}'\nhelper=/opt/KEPT\n" in script


def test_other_verbs_are_the_helper_s(ask):
    """`list`, and what comes later."""
    assert ask("list") == (0, "{}", "")
