"""Run the agent's relay and network rules without a runner.

A program, `python -m tests.engines.relayed`, with the agent's own settings. It logs as the agent
does, prints "ready JSON" with the variables that a job would have, and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from sidecar import host
from sidecar.aws import task_metadata
from sidecar.errors import SidecarError
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.log import events
from sidecar.process import collect_orphans
from sidecar.relay import network_rules
from sidecar.settings import load as settings
from sidecar.settings import model
from sidecar.shutdown.cleanup import CleanupStack

WARM = 10.0


async def _main(config: model.Configuration) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    access, cleanup_stack = Access(config), CleanupStack()
    facts = await task_metadata.read_task_facts(config.task.metadata_uri, so_mark=access.so_mark)
    async with collect_orphans():
        async with job_credentials(config, access, facts, cleanup_stack) as job:
            variables = await job.wait_for_credentials(
                "build-1", WARM, config.passed_on, required=True
            )
            env = dict(job.remove_agent_variables(config.passed_on)) | variables
            print(f"ready {json.dumps(env)}", flush=True)
            await stopped.wait()
        await asyncio.gather(*(step.begin() for step in cleanup_stack.steps))
    if cleanup_stack.not_done:
        sys.exit(f"cleanup steps failed: {cleanup_stack.not_done}")


if __name__ == "__main__":
    if tools := os.environ.pop("TOOLS_PATH", None):
        network_rules._PATH = tools  # an image may lack some tools
    config = settings.load([], os.environ)
    events.configure("json", "debug")
    runner = asyncio.Runner(loop_factory=host.loop_factory())
    try:
        runner.run(_main(config))
    except SidecarError as error:
        print(f"failed {error}", flush=True)
        sys.exit(error.exit)
    finally:
        events.flush()
