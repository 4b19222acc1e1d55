"""A job that writes without end into the listener's output fills neither log nor stop budget."""

import pytest
from structlog.testing import capture_logs

from sidecar.log import line_limit
from sidecar.log.line_limit import LineLimit
from sidecar.phase import Phase
from sidecar.runner.listener import Listener
from tests.lives.stage import open_stage, run_side_by_side
from tests.lives.test_hostile_jobs import FIND_LISTENER, SAME_USER

STAMP = "2026-11-27 01:02:03Z: "
FLOOD = 12_000


class Time:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self):
        """Return the seconds."""
        return self.now


def admit_all(self, line):
    """Let every line into the log, as all agents did once."""
    return True


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_flood_of_lines_is_cut_and_said_once(mended, monkeypatch):
    """The burst is logged, then one event that says so; without the limit, every line."""
    if not mended:
        monkeypatch.setattr(LineLimit, "admit", admit_all)
    listener = Listener(Phase(), Time())
    with capture_logs() as logs:
        for _ in range(FLOOD):
            listener.read_line("stdout", "x" * 20)
        listener.log_left_out()
    printed = [line for line in logs if line["event"] == "listener.printed"]
    if not mended:
        assert len(printed) == FLOOD
        return
    assert len(printed) <= line_limit.BURST / line_limit.AROUND
    assert [line["event"] for line in logs if line not in printed] == [
        "listener.output_limited",
        "listener.output_left_out",
    ]
    assert logs[-1]["lines"] == FLOOD - len(printed)


def test_lines_are_logged_again_after_a_while():
    """As many as the time since has earned, and the event is not repeated."""
    clock = Time()
    listener = Listener(Phase(), clock)
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(FLOOD):
                listener.read_line("stdout", "x" * 20)
            clock.now += 1.0
    printed = sum(line["event"] == "listener.printed" for line in logs)
    assert printed <= (line_limit.BURST + 2 * line_limit.RATE) / line_limit.AROUND
    assert sum(line["event"] == "listener.output_limited" for line in logs) == 1
    assert logs[-1]["event"] == "listener.printed"  # of the third second


def test_what_is_not_logged_is_still_read():
    """The listener's own lines between those of the flood set its state."""
    listener = Listener(Phase(), Time())
    with capture_logs() as logs:
        for _ in range(FLOOD):
            listener.read_line("stdout", "x" * 20)
        before = len(logs)
        listener.read_line("stdout", STAMP + "Listening for Jobs")
        listener.read_line("stdout", STAMP + "Running job: one")
        listener.read_line("stdout", STAMP + "Job one completed with result: Succeeded")
    assert (listener.had_job, listener.result) == (True, "Succeeded")
    assert "listener.printed" not in [line["event"] for line in logs[before:]]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("Job one completed with result: Failed", "job.reported"),
        ("Runner connect error: no. Retrying until reconnected.", "runner.connection_changed"),
    ],
)
def test_forged_lines_make_no_more_events_than_lines(line, event):
    """Each kind of line that becomes an event of its own has the same limit, or comes once."""
    listener = Listener(Phase(), Time())
    with capture_logs() as logs:
        for _ in range(FLOOD):
            listener.read_line("stdout", STAMP + line)
    printed = sum(one["event"] == "listener.printed" for one in logs)
    assert 1 <= sum(one["event"] == event for one in logs) <= printed < FLOOD / 2


def test_a_job_s_flood_of_lines_does_not_keep_a_life_from_its_end(aws):
    """A whole life: the job ends, the agent cleans up, and the log has the number left out."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job(
                f"{FIND_LISTENER}yes x | head -n 200000 > /proc/$listener/fd/1; echo 'd'one"
            )
            async with stage.life(env=SAME_USER) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert len(life.find_events("listener.printed")) < 20_000
            (left_out,) = life.find_events("listener.output_left_out")
            assert left_out["lines"] > 150_000

    run_side_by_side(play())
