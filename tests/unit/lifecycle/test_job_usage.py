"""Samples of what a job uses, also where the ECS agent does not always answer."""

import asyncio

import pytest
from structlog.testing import capture_logs

from local import ecs_agent, faults
from local.faults import Rule
from sidecar.lifecycle import job_usage
from sidecar.lifecycle.job_usage import follow_usage


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_sample_that_fails_is_left_out(monkeypatch, failing):
    """The next ones are taken all the same, and the log says once that one is missing."""
    monkeypatch.setattr(job_usage, "EVERY", 0.01)

    async def work():
        async with ecs_agent.serving() as ecs, faults.serving(ecs.url) as proxy:
            uri = ecs.environment["ECS_CONTAINER_METADATA_URI_V4"].replace(ecs.url, proxy.url)
            proxy.add(Rule("status", path="/task/stats$", status=500, times=failing))
            job = asyncio.Event()
            async with follow_usage(uri, job, so_mark=False) as watch:
                job.set()
                while watch.usage.seconds == 0:  # there are two samples then
                    seen = len(proxy.seen(path="/task/stats$"))
                    await proxy.reached(seen + 1, path="/task/stats$")
            return watch.usage

    with capture_logs() as logs:
        usage = asyncio.run(asyncio.wait_for(work(), 60))
    assert usage.last.memory > 0
    assert len([each for each in logs if each["event"] == "job.usage_unknown"]) == min(failing, 1)
