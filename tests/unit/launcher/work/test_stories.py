"""From a queued job to a running task, and back to nothing."""

import json

from tests.unit.launcher.work.scene import arn, make_demand, play


def test_a_queued_job_gets_a_task_of_its_own_and_nothing_is_left():
    """Placed, handed over with the pool's policy, served, cleaned up."""

    async def story(scene):
        launch = await scene.begin()
        (request,) = scene.tasks.sent
        assert request["launchType"] == "FARGATE"
        assert launch.place == arn(1)
        ((task, text, _),) = scene.parameters.written
        assert task == arn(1)
        assert json.loads(text)["policy"]["forks"] is False
        assert scene.hub.registered[0] == ("self-hosted", "small")
        await scene.boot()
        assert await scene.run(1, launch.runner_name) is None
        assert (await scene.launch()).served
        await scene.complete(1, launch.runner_name, launch.place)
        assert (await scene.launch()).ended
        await scene.wait(120)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 1
        looked_up = [call for call in scene.hub.calls if "/jobs/" in call]
        assert looked_up == []

    play(story)
