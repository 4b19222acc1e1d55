"""User data: the same for all machines of a pool, without a secret; and what a machine does."""

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.places.boot import (
    DOCKER,
    IMAGE,
    LONGEST,
    WHEEL,
    AgentSource,
    Boot,
    TooLong,
    check_size,
    write_user_data,
)
from launcher.places.ec2 import EXIT_LINE

SPACE = Path(__file__).with_name("machine_space.py")
LIMITS = (("SIDECAR_IDLE_LIMIT", "300"), ("SIDECAR_LIFETIME_LIMIT", "43200"))
LISTED = "agent @ https://example.test/agent.whl --hash=sha256:0\n"
SUM = hashlib.sha256(LISTED.encode()).hexdigest()
LINUX = Boot("linux", AgentSource(), "/runner/tokens", 45_000, LIMITS)
AGENT = """#!/bin/sh
echo "$@" >>$OUT/agent.log
env | sed -nE '/^(SIDECAR|AWS)_/p' | sort >$OUT/environment
echo '{"event": "runner.registered"}'
exit 18
"""
SYSTEMCTL = '#!/bin/sh\necho "$@" >>$OUT/systemctl.log\n'
DOCKER_PROGRAM = """#!/bin/sh
echo "$@" >>$OUT/docker.log
case $1 in image) exit 1 ;; run) exit 0 ;; esac
"""
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then exit 0; fi
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >>$OUT/pip.log\\n' >"$3/bin/pip"
cp "$OUT/agent" "$3/bin/runner-sidecar"
chmod 755 "$3"/bin/*
"""
CURL = """#!/bin/sh
case "$*" in
    *example.test*)
        while [ $# -gt 1 ]; do
            if [ "$1" = -o ]; then cp $OUT/listed "$2"; fi
            shift
        done
        echo "$1" >>$OUT/curl.log
        ;;
    *) exec /usr/bin/curl "$@" ;;
esac
"""


def play(tmp_path, boot=LINUX, *, programs=None, tags=None, boots=1):
    """Start a machine with this user data; return what it said and did."""
    folder, user_data = tmp_path / "programs", tmp_path / "user-data"
    folder.mkdir()
    for name, text in {"systemctl": SYSTEMCTL, "curl": CURL, **(programs or {})}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (tmp_path / "agent").write_text(AGENT)
    (tmp_path / "listed").write_text(LISTED)
    user_data.write_text(write_user_data(boot))
    console = tmp_path / "console"
    console.touch()
    space = ["unshare", "--mount", "--net", sys.executable, SPACE]
    arguments = [user_data, console, folder, tmp_path, str(boots)]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TAGS": json.dumps(tags or {}),
    }
    done = subprocess.run(
        [*space, *arguments], env=environment, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def read(tmp_path, name):
    """Return the lines that a program wrote."""
    return (tmp_path / name).read_text().splitlines()


# ---- the text ----------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_user_data_are_short_and_the_same_each_time(system):
    """EC2 takes 16 KB; half of them are enough, whatever the longest setting is."""
    source = AgentSource(WHEEL, f"https://example.test/{'a' * 1000}", SUM)
    boot = Boot(system, source, "/runner/tokens", 45_000, LIMITS)
    text = write_user_data(boot)
    assert text == write_user_data(boot)
    assert len(text.encode()) < LONGEST / 2 + 1024
    assert text.isascii()


def test_user_data_that_are_too_long_are_refused():
    """Such as a file of an action: its size in bytes is said."""
    assert check_size("x" * LONGEST)
    with pytest.raises(TooLong, match="16386 bytes"):
        check_size("ä" * (LONGEST // 2 + 1))


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_a_value_never_becomes_a_command(system):
    """Quotes, dollars and lines stay what they are."""
    evil = "a'; reboot; $(reboot) `reboot` \u2019;\n reboot"
    text = write_user_data(Boot(system, AgentSource(DOCKER, evil), evil, 1, (("A", evil),)))
    if system == "linux":
        words = shlex.split(text.partition("# The machine")[0].partition("\n")[2])
        assert {f"AGENT_SOURCE={evil}", f"PARAMETER_PREFIX={evil}", f"A={evil}"} <= set(words)
        assert len(words) == 7
    else:
        doubled = evil.replace("'", "''").replace("\u2019", "\u2019\u2019")
        assert text.count(f"'{doubled}'") == 3
        assert text.startswith("<powershell>\n")
        assert text.endswith("\n</powershell>\n")


@pytest.mark.shellcheck
@pytest.mark.parametrize("kind", [IMAGE, DOCKER, WHEEL])
def test_shellcheck_finds_nothing(tmp_path, kind):
    """In the whole text, as a machine gets it."""
    path = tmp_path / "user-data"
    path.write_text(write_user_data(Boot("linux", AgentSource(kind, "x", SUM), "/p", 3600, LIMITS)))
    subprocess.run(["shellcheck", path], check=True)


# ---- a machine ---------------------------------------------------------------------------------


@pytest.mark.root
def test_the_agent_of_the_image_gets_its_own_parameter_and_the_machine_ends(tmp_path):
    """Its name holds the instance's id; the console says what the agent ended with."""
    done = play(tmp_path, programs={"runner-sidecar": AGENT})
    assert done["codes"] == [18]
    assert read(tmp_path, "agent.log") == ["run"]
    assert read(tmp_path, "environment") == [
        "AWS_REGION=eu-central-1",
        "SIDECAR_IDLE_LIMIT=300",
        "SIDECAR_LIFETIME_LIMIT=43200",
        "SIDECAR_PLATFORM=ec2",
        "SIDECAR_TOKEN_PARAMETER=/runner/tokens/i-0123456789abcdef0",
    ]
    lines = done["console"].splitlines()
    assert lines[0] == "runner-machine: begins: agent from image, 45000 s at most"
    assert '{"event": "runner.registered"}' in lines
    assert EXIT_LINE.search(lines[-1])[1] == "18"
    assert done["calls"][-1] == "--no-block poweroff"


@pytest.mark.root
def test_the_limit_is_set_before_the_agent_is_looked_for(tmp_path):
    """A machine on which nothing works ends all the same; the agent's own limit comes first."""
    done = play(tmp_path)
    assert done["installed"] == [
        "daemon-reload",
        "enable runner-machine-limit.timer runner-machine.service",
        "start runner-machine-limit.timer",
        "start --no-block runner-machine.service",
    ]
    assert "OnActiveSec=45000" in done["units"]["runner-machine-limit.timer"]
    assert "RuntimeMaxSec=44700" in done["units"]["runner-machine.service"]
    assert "no runner-sidecar" in done["console"]
    assert done["console"].endswith("runner-machine: the agent was never started\n")
    assert EXIT_LINE.search(done["console"]) is None
    assert done["calls"][-1] == "--no-block poweroff"


@pytest.mark.root
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    """Its own judge reads them; each end of the runner's unit powers the machine off."""
    done = play(tmp_path)
    folder = tmp_path / "units"
    folder.mkdir()
    for name, text in done["units"].items():
        (folder / name).write_text(text.replace("/opt/runner-machine/machine", "/bin/true"))
    verify = ["systemd-analyze", "verify", *sorted(map(str, folder.iterdir()))]
    judged = subprocess.run(verify, capture_output=True, text=True, check=True, timeout=60)
    own = [line for line in judged.stderr.splitlines() if "runner-machine" in line]
    assert own == []
    unit = done["units"]["runner-machine.service"]
    assert "SuccessAction=poweroff\nFailureAction=poweroff\n" in unit


@pytest.mark.root
def test_a_machine_that_is_started_again_takes_no_second_job(tmp_path):
    """It ends at once, and says why."""
    done = play(tmp_path, programs={"runner-sidecar": AGENT}, boots=2)
    assert done["codes"] == [18, 1]
    assert read(tmp_path, "agent.log") == ["run"]
    assert "this machine has run before" in done["console"]
    assert done["calls"].count("--no-block poweroff") == 2


@pytest.mark.root
def test_a_machine_whose_units_cannot_be_installed_powers_off(tmp_path):
    """Nothing that fails leaves a machine that runs for nothing."""
    broken = f'{SYSTEMCTL}[ "$1" != enable ]\n'
    done = play(tmp_path, programs={"systemctl": broken, "runner-sidecar": AGENT})
    assert "runner-machine: cannot install the units: exit code 1" in done["console"]
    assert done["calls"][-1] == "--no-block poweroff"
    assert done["codes"] == []


@pytest.mark.root
def test_an_agent_that_is_killed_leaves_no_machine(tmp_path):
    """The console says by which signal; that is no exit code."""
    done = play(tmp_path, programs={"runner-sidecar": "#!/bin/sh\nkill -9 $$\n"})
    assert done["codes"] == [-9]
    assert "the agent was ended by the signal 9" in done["console"]
    assert EXIT_LINE.search(done["console"]) is None
    assert done["calls"][-1] == "--no-block poweroff"


@pytest.mark.root
@pytest.mark.parametrize(("tag", "limit"), [("7200", "7200"), ("$(reboot)", "300")])
def test_a_tag_says_how_long_this_machine_may_be_idle(tmp_path, tag, limit):
    """What differs for each machine is in its tags; what is no number changes nothing."""
    tags = {"runner-launcher:idle-limit": tag}
    play(tmp_path, programs={"runner-sidecar": AGENT}, tags=tags)
    assert f"SIDECAR_IDLE_LIMIT={limit}" in read(tmp_path, "environment")


@pytest.mark.root
def test_a_runner_image_is_run_in_the_network_of_the_machine(tmp_path):
    """Metadata answer nobody who is further away; the variables go by name."""
    source = AgentSource(DOCKER, "registry.test/runner:1")
    boot = Boot("linux", source, "/runner/tokens", 45_000, LIMITS)
    done = play(tmp_path, boot, programs={"docker": DOCKER_PROGRAM})
    assert done["codes"] == [0]
    *_, pull, run = read(tmp_path, "docker.log")
    assert pull == "pull --quiet registry.test/runner:1"
    words = run.split()
    assert words[:6] == ["run", "--rm", "--name", "runner", "--network", "host"]
    assert words[-1] == "registry.test/runner:1"
    named = sorted(words[6:-1])[-5:]
    assert named == [
        "AWS_REGION",
        "SIDECAR_IDLE_LIMIT",
        "SIDECAR_LIFETIME_LIMIT",
        "SIDECAR_PLATFORM",
        "SIDECAR_TOKEN_PARAMETER",
    ]


@pytest.mark.root
@pytest.mark.parametrize("sha256", [SUM, "0" * 64])
def test_wheels_are_installed_by_their_hashes_alone(tmp_path, sha256):
    """The list itself has a hash in the pool; another list is not installed."""
    source = AgentSource(WHEEL, "https://example.test/requirements.txt", sha256)
    boot = Boot("linux", source, "/runner/tokens", 45_000, LIMITS)
    done = play(tmp_path, boot, programs={"python3.14": PYTHON})
    assert read(tmp_path, "curl.log") == ["https://example.test/requirements.txt"]
    if sha256 == SUM:
        assert done["codes"] == [18]
        (pip,) = read(tmp_path, "pip.log")
        assert "--no-deps --require-hashes" in pip
    else:
        assert done["codes"] == [1]
        assert "is not what agent_requirements_sha256 says" in done["console"]
        assert not (tmp_path / "pip.log").exists()
    assert done["calls"][-1] == "--no-block poweroff"
