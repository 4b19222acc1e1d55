"""A real systemd ends the machine, whatever becomes of its agent: user data and units as they are.

Each wall is shown to be needed too: without its line the next wall ends the machine, or none does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.places.boot import AgentSource, Boot, write_user_data
from launcher.places.ec2 import EXIT_LINE
from tests.entrypoint.machine import AGENT, Disk, find_missing

ENTRYPOINT = Path(__file__).parents[2] / "entrypoint"
USER_DATA = write_user_data(Boot("linux", AgentSource(), "/tokens", 3600))
UNIT, LIMIT = "runner-machine.service", "runner-machine-limit.timer"
ACTIONS = "SuccessAction=poweroff\nFailureAction=poweroff\n"
LAST_COMMAND = "ExecStopPost=$own/machine end\n"
MIXED = "KillMode=mixed\n"
TIME_IS_OVER = "runner-machine: its time is over: 3600 s"
WATCHED = "runner-sidecar-watch.service"
HANGS = "trap '' TERM\necho hangs\nwhile :; do sleep 600; done"
SOON = "8s"
"""Until then an agent has begun to hang."""
CLEANS_UP = """\
(trap 'echo the job is asked to end; exit' TERM; : >/run/job; while :; do sleep 0.1; done) &
until [ -e /run/job ]; do sleep 0.1; done
trap 'echo begins to clean up; sleep 0.5; echo has cleaned up; exit 13' TERM
systemctl --no-block poweroff
while :; do sleep 0.1; done
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(missing := find_missing()), reason=missing),
]


@pytest.fixture
def disk(tmp_path):
    """Make a new machine's disk."""
    return Disk(tmp_path)


def install(disk, agent=None, *, without=()):
    """Give a machine our user data, without some of their lines, and an agent."""
    text = USER_DATA
    for line in without:
        assert line in text
        text = text.replace(line, "")
    if agent is not None:
        disk.write_program(AGENT, agent)
    disk.write_user_data(text)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("exit 0", "the agent has ended with exit code 0"),
        ("exit 18", "the agent has ended with exit code 18"),
        ("kill -KILL $$", "the agent was ended by the signal KILL"),
        (None, "the agent was never started"),
    ],
    ids=["ended", "failed", "killed", "missing"],
)
def test_a_machine_powers_off_when_its_agent_has_ended(disk, agent, said):
    """However it has, or if there is none; the launcher finds its exit code on the console."""
    install(disk, agent)
    console = disk.boot()
    assert f"runner-machine: {said}\n" in console
    found = EXIT_LINE.search(console)
    assert (found and found[1]) == (agent[-2:].strip() if "exit code" in said else None)
    assert TIME_IS_OVER not in console


def test_a_machine_whose_programs_cannot_be_started_powers_off(disk):
    """Neither the agent nor the unit's last command: systemd's own action is left."""
    install(disk, "exit 0")
    console = disk.boot(opt="noexec")
    assert "status=203/EXEC" in console
    assert TIME_IS_OVER not in console


@pytest.mark.parametrize(
    ("agent", "wall"),
    [("kill -KILL $$", ACTIONS), ("exit 0", LAST_COMMAND)],
    ids=["without actions", "without last command"],
)
def test_each_wall_alone_powers_it_off(disk, agent, wall):
    """The unit's actions, and its last command."""
    install(disk, agent, without=[wall])
    assert TIME_IS_OVER not in disk.boot()


def test_without_both_the_time_limit_ends_it(disk):
    """So it is these lines that end it at once; and the limit ends what nothing else does."""
    install(disk, "exit 0", without=[ACTIONS, LAST_COMMAND])
    disk.shorten(LIMIT, "Timer", OnActiveSec="2s")
    console = disk.boot()
    assert TIME_IS_OVER in console


def test_an_agent_that_hangs_is_asked_to_end_then_killed(disk):
    """It has its time, and its time to stop; then the machine powers off."""
    install(disk, HANGS)
    disk.shorten(UNIT, "Service", RuntimeMaxSec=SOON, TimeoutStopSec="1s")
    console = disk.boot()
    assert "hangs\n" in console
    assert "runner-machine: the agent was ended by the signal KILL\n" in console
    assert TIME_IS_OVER not in console


@pytest.mark.parametrize("command", ["", "/bin/false"], ids=["it works", "it fails"])
def test_the_limit_of_the_machine_waits_for_nobody(disk, command):
    """Neither for an agent that hangs nor for its stop time, and it does not need its command."""
    install(disk, HANGS)
    disk.shorten(LIMIT, "Timer", OnActiveSec=SOON)
    if command:
        disk.shorten(LIMIT.replace("timer", "service"), "Service", ExecStart=command)
    console = disk.boot()
    assert "hangs\n" in console
    assert (TIME_IS_OVER in console) == (not command)
    assert "the agent was ended" not in console


@pytest.mark.parametrize("without", [(), (MIXED,)], ids=["as it is", "without KillMode"])
def test_the_agent_cleans_up_before_a_power_off(disk, without):
    """It alone gets SIGTERM, as when the machine is stopped from outside, and has its time."""
    install(disk, CLEANS_UP, without=without)
    console = disk.boot()
    before, cleaned, after = console.partition("has cleaned up\n")
    assert cleaned
    assert "begins to clean up\n" in before
    assert "runner-machine: the agent has ended with exit code 13\n" in after
    assert ("the job is asked to end" in console) == bool(without)


def test_a_machine_whose_units_cannot_be_installed_powers_off(disk):
    """Nothing that fails leaves a machine that runs for nothing."""
    disk.write_user_data(USER_DATA.replace("    write_units\n", "    false\n"))
    assert "runner-machine: cannot install the units: exit code 1\n" in disk.boot()


def test_a_machine_that_is_started_again_powers_off(disk):
    """Its units are enabled: they need no user data, and take no second job."""
    install(disk, "echo takes a job")
    assert "takes a job\n" in disk.boot()
    disk.forget_user_data()
    console = disk.boot()
    assert "this machine has run before, and takes one job only\n" in console
    assert "takes a job\n" not in console


# ---- the units of a machine's own image ----------------------------------------------------------


def install_image(disk, agent=None):
    """Give a machine the units that its own image has."""
    for path in ENTRYPOINT.glob("runner-sidecar*.*"):
        disk.write_unit(path.name, path.read_text())
    if agent is not None:
        disk.write_program(AGENT, agent)
    disk.want("runner-sidecar.service")


@pytest.mark.parametrize("agent", ["exit 0", None], ids=["ended", "missing"])
def test_a_machine_of_its_own_image_powers_off(disk, agent):
    """However its agent has ended, or if there is none; the watch is not needed for it."""
    install_image(disk, agent)
    assert WATCHED not in disk.boot()


def test_the_watch_ends_a_machine_without_an_agent(disk):
    """Such as one whose unit nobody has started."""
    install_image(disk)
    (disk.folder / "units/multi-user.target.wants/runner-sidecar.service").unlink()
    disk.shorten("runner-sidecar-watch.timer", "Timer", OnBootSec="1s", AccuracySec="1s")
    disk.want("runner-sidecar-watch.timer")
    assert WATCHED in disk.boot()
