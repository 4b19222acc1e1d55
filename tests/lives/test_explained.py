"""Check that a life that fails has its reason in the log: the runner's lines, and a last event."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.lives.stage import ON_UVLOOP, open_stage, run_side_by_side


def check_explanation(life, **facts):
    """Check what the log of every failed life must hold; returns the runner's lines by verb."""
    (failed,) = life.find_events("life.failed")
    (end,) = life.find_events("life.ended")
    errors = [event for event in life.events if event["level"] == "error"]
    assert [event for event in errors if event["event"] != "cleanup.failed"] == [failed]
    assert end["error"] == failed["reason"]
    assert facts.items() <= end.items()
    assert sum(end["phase_seconds"].values()) == pytest.approx(end["life_seconds"], abs=0.1)
    return {
        (event["verb"], event["file"].removeprefix("_diag/").split("_")[0]): event["lines"]
        for event in life.find_events("runner.diagnostics_read")
    }


def test_a_crash_in_a_job(aws):
    """The last lines of listener and worker, exit 15, and how the runner was deregistered."""

    async def play():
        async with open_stage(aws) as stage:
            stage.misbehave(run="crash-in-job")
            stage.world.settings.lost_after = 1.0
            await stage.put()
            stage.job("sleep 600")
            async with stage.life(ON_UVLOOP) as life:
                await stage.check_end(life, 15)
            found = check_explanation(
                life,
                outcome="runner",
                left_behind={},
                undone={"token": "deleted", "runner": "registration-token", "protection": "done"},
            )
            assert "Running job: build" in found["run", "Runner"][-1]
            assert found["run", "Worker"]
            assert "signal 6" in life.events[-1]["error"]

    run_side_by_side(play())


def test_a_refused_registration(aws):
    """The lines that configure wrote are logged, and never the token."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-registration", "status": 404, "count": -1})
            async with stage.life(ON_UVLOOP) as life:
                await stage.check_end(life, 13)
            found = check_explanation(life, outcome="registration", undone={
                "token": "deleted", "runner": "never-registered",
            })  # fmt: skip
            assert any("NotFound" in line for line in found["configure", "Runner"])

    run_side_by_side(play())


def test_a_token_in_the_runner_s_own_log_is_masked(aws):
    """No part of a token that the runner wrote down reaches the agent's log."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            other = "ghp_" + "aB3" * 12
            step, _ = stage.make_gate()
            said = f"echo 'read {stage.token} and {other} there'"
            job = stage.job(
                f"{said} | tee -a {stage.runner_folder}/_diag/Worker_*.log >/dev/null", step
            )
            async with stage.life(ON_UVLOOP) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.give_up(job, 0.0)
                await stage.wait_for(lambda: job.state == "completed", "the end of the job")
                os.kill(life.find_events("runner.started")[0]["pid"], signal.SIGKILL)
                await stage.check_end(life, 15)
            found = check_explanation(life, outcome="runner")
            assert "read *** and *** there" in found["run", "Worker"]
            assert other not in life.text

    run_side_by_side(play())


def test_a_runner_that_cannot_be_removed(aws):
    """The lines of `remove` are logged; the last event has the budget and the last failure."""

    async def play():
        async with open_stage(aws) as stage:
            stage.misbehave(run="crash-after-listening", remove="fail")
            stage.world.faults.add({"call": "runner-delete", "count": -1, "status": 400})
            await stage.put()
            # In this time the runner's program has to be tried once, on a busy machine too.
            async with stage.life(ON_UVLOOP, env={"SIDECAR_STOP_TIMEOUT": "16"}) as life:
                await stage.check_end(life, 15, left=["runner"])
            found = check_explanation(life, undone={"token": "deleted", "protection": "done"})
            said = " ".join(found["remove", "Runner"])  # the last try may be cut
            assert "Removing runner from the server" in said or "for command remove" in said
            (reason,) = life.events[-1]["left_behind"].values()
            assert "SIDECAR_STOP_TIMEOUT" in reason
            assert "SSL connection could not be established" in reason

    run_side_by_side(play())


def test_a_version_that_github_refuses(aws):
    """An old version is warned about, a refused one is named clearly: exit 21."""

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.deprecated_versions = ["2.336.0"]
            built = time.time() - 33.5 * 86400
            os.utime(stage.runner_folder / "bin" / "Runner.Listener", (built, built))
            await stage.put()
            async with stage.life(ON_UVLOOP) as life:
                await stage.check_end(life, 21)
            (aged,) = life.find_events("runner.outdated")
            assert aged["days"] == 33
            found = check_explanation(life, outcome="deprecated", left_behind={})
            assert "is deprecated and cannot receive messages" in found["run", "Runner"][-1]
            error = life.events[-1]["error"]
            assert "2.336.0 (built 33 days ago)" in error
            assert "build the image anew" in error

    run_side_by_side(play())


def test_metrics_of_a_life_and_of_its_end(aws):
    """Metrics are served while a job runs; the last event is a CloudWatch metric if that is set."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            step, go = stage.make_gate()
            job = stage.job(step)
            async with stage.life(ON_UVLOOP, env={"SIDECAR_METRICS_NAMESPACE": "Runners"}) as life:
                await stage.wait_for_output(job, "at the gate")
                await life.wait_for_phase("busy")  # it reads of the job in its own time
                await life.wait_for_event("token.deleted")
                address = (await life.wait_for_event("health.started"))["port"]
                url = f"http://127.0.0.1:{address}/metrics"
                async with stage.http.get(url) as answer:
                    assert answer.status == 200
                    text = await answer.text()
                go()
                await stage.check_end(life, 0)
            for line in (
                'runner_sidecar_phase{phase="busy"} 1.0',
                "runner_sidecar_job 1.0",
                'runner_sidecar_relay_refreshes_total{result="success"} 1.0',
                'runner_sidecar_undo{state="done",undo="token"} 1.0',
                'runner_sidecar_undo{state="pending",undo="runner"} 1.0',
                'runner_sidecar_relay_upstream_seconds_bucket{le="+Inf"} 1.0',
            ):
                assert f"{line}\n" in text, line
            end = life.events[-1]
            (directive,) = end["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "Runners"
            assert {metric["Name"] for metric in directive["Metrics"]} <= end.keys()
            assert (end["lives"], end["jobs"], end["failures"]) == (1, 1, 0)
            assert end["undone"]["runner"] == "github"
            assert "error" not in end

    run_side_by_side(play())
