"""Whole lives that say what the job used of its task."""

from local import ecs_agent
from tests.lives.stage import open_stage, run_side_by_side, wait_until


def count_samples(stage):
    """Return how often the ECS agent has told what the task uses."""
    answered = [seen for seen in stage.ecs.requests if seen.status == 200]
    return sum(seen.path.endswith("/task/stats") for seen in answered)


def test_the_final_event_and_the_run_s_summary_say_what_the_job_used(aws):
    """The summary only where it is asked for; the user's own hook runs after it."""

    async def play(setting):
        # So few that samples whose answers are late do not make a quarter of a processor of it.
        task = ecs_agent.Task(launch_type="FARGATE", cpus_used=0.02)
        async with open_stage(aws, task=task) as stage:
            await stage.put()
            own = stage.folder / "completed.sh"
            own.write_text('echo "own hook"; echo "own summary" >>"$GITHUB_STEP_SUMMARY"\n')
            gate, open_gate = stage.make_gate()
            job = stage.job(gate, 'curl -s "$RUNNER_SIDECAR_RELAY_URI" >/dev/null || :')
            env = {
                "SIDECAR_JOB_SUMMARY": setting,
                "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": str(own),
            }
            async with stage.life(env=env) as life:
                await wait_until(lambda: count_samples(stage) >= 2, "samples while it works")
                open_gate()
                await stage.check_end(life, 0)
            (end,) = life.find_events("life.ended")
            assert (end["task_cpu"], end["task_memory_mib"]) == (1, 2048)
            assert end["job_memory_peak_mib"] == 600
            assert end["job_cpu_seconds"] > 0
            assert end["smaller_task"] == {"cpu": 256, "memory": 1024}
            text = "".join(job.summaries.values())
            assert "own hook" in job.log()
            assert "own summary" in text
            assert ("### What this job used" in text) is (setting == "on")
            assert ("0.25 vCPU and 1,024 MiB would have done" in text) is (setting == "on")

    run_side_by_side(play("on"), play("off"))
