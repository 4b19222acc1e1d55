"""What surrounds the action: an App, masks of others, a hostile workspace, AWS's old names."""

import pytest

from local import aws as local_aws
from local.composite import Composite
from local.github import apps
from tests.action.jobs import ACTION, inputs, make_job, play, queue_job, start
from tests.launches.stage import open_stage

HIJACKED = "print('hijacked'); raise SystemExit(3)\n"


def test_an_app_registers_the_runner(aws):
    """Its key is masked line by line, with the line breaks as they are in a secret."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            key, *numbers = apps.fresh_key()
            app = stage.github.world.apps.add("runners", *numbers)
            stage.github.world.apps.install(app, "octo")
            app_inputs = {"github_pat": "", "github_app_id": str(app.id), "github_app_key": key}
            action = start(job)
            assert await action.run(**inputs(**app_inputs)) == "success", "\n".join(job.log)
            assert set(key.splitlines()) <= set(job.masks)
            await stage.wait_for_job(queue_job(stage, action.outputs["runs_on"]))
            await stage.check_nothing_left()

    play(scene())


def test_what_runs_on_needs_survives_a_masked_account(aws):
    """GitHub drops an output that holds masked text: no label and no name holds an account."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            job.masks.append(local_aws.ACCOUNT)
            action = start(job)
            assert await action.run(**inputs(wait_for="none")) == "success"
            assert job.job_output(action.outputs["task_arns"]) is None
            for name in ("label", "runs_on", "runner_names"):
                assert job.job_output(action.outputs[name]) == action.outputs[name]
            await stage.wait_for_job(queue_job(stage, action.outputs["runs_on"]))
            await stage.check_nothing_left()

    play(scene())


@pytest.mark.parametrize("unmended", [True, False])
def test_the_code_of_the_workspace_is_not_imported(aws, tmp_path, unmended):
    """The working directory holds the checkout of a pull request; without -I it would be run."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            for name in ("json", "launcher", "asyncio"):
                (job.workspace / f"{name}.py").write_text(HIJACKED)
            path = ACTION / "start"
            if unmended:  # as it would be with `python -m`
                path = tmp_path / "start"
                path.mkdir()
                text = (ACTION / "start" / "action.yml").read_text()
                started = '-I "$GITHUB_ACTION_PATH/../run.py" start'
                assert started in text
                (path / "action.yml").write_text(text.replace(started, "-m launcher start"))
                (tmp_path / "install").write_text(f'exec bash "{ACTION / "install"}"\n')
            action = Composite(job, path)
            result = await action.run(**inputs(cluster="none"))
            assert result == "failure"
            assert ("hijacked" in "\n".join(job.log)) is unmended

    play(scene())


def test_the_variables_that_the_seed_documents_are_read(aws):
    """AWS_ACCESS_ID and AWS_SECRET_KEY, which no client of AWS's knows, and AWS_DEFAULT_REGION."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
                job.environ.pop(name)
            job.environ |= {"AWS_ACCESS_ID": "seed", "AWS_SECRET_KEY": "seed"}
            job.environ["AWS_DEFAULT_REGION"] = local_aws.REGION
            action = start(job)
            assert await action.run(**inputs(wait_for="none")) == "success", "\n".join(job.log)
            await stage.wait_for_job(queue_job(stage, action.outputs["runs_on"]))
            await stage.check_nothing_left()

    play(scene())
