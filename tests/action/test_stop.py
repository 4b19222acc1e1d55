"""The action that stops runners which nobody uses."""

import json

from local.stage import PAT
from tests.action.jobs import inputs, make_job, play, queue_job, start, stop, wait_for_runner
from tests.launches.stage import PREFIX, open_stage

SAME = {"github_pat": PAT, "cluster": "runners", "parameter_prefix": PREFIX}


def test_what_was_not_used_is_stopped_and_a_job_is_not_cut(aws):
    """Of two runners one has a job: it stays until the job has ended, the other goes."""

    async def scene():
        async with open_stage(aws) as stage:
            action = start(make_job(stage))
            assert await action.run(**inputs(count="2")) == "success"
            gate = stage.folder / "gate"
            hold = f"while [ ! -e {gate} ]; do sleep 0.05; done"
            labels = json.loads(action.outputs["runs_on"])
            queued = stage.queue_job(*labels, steps=[{"run": hold}])
            await wait_for_runner(stage, queued)
            last = make_job(stage, "last")
            assert await stop(last).run(label=action.outputs["label"], **SAME) == "success"
            (runner,) = stage.github.world.runners
            assert runner.busy
            assert "is kept: its runner has a job" in "\n".join(last.log)
            gate.touch()
            await stage.wait_for_job(queued)
            await stage.check_nothing_left()

    play(scene())


def test_an_empty_label_stops_nothing_and_says_so(aws):
    """A start that failed has set no label, and has cleaned up by itself."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            assert await stop(job).run(label="", **SAME) == "success"
            assert stage.ecs.requests == []
            assert any(kind == "warning" and "label" in text for kind, text in job.annotations)

    play(scene())


def test_a_label_finds_the_runners_of_its_own_step_only(aws):
    """What another step has started lives on."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            first, second = start(job, "one"), start(job, "two")
            for action in (first, second):
                assert await action.run(**inputs(wait_for="none")) == "success"
            last = make_job(stage, "last")
            assert await stop(last).run(label=first.outputs["label"], **SAME) == "success"
            (living,) = stage.ecs.living()
            assert living.arn == second.outputs["task_id"]
            await stage.wait_for_job(queue_job(stage, second.outputs["runs_on"]))
            await stage.check_nothing_left()

    play(scene())
