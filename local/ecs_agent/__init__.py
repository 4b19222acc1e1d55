"""Serve what the ECS agent offers a task: credentials, task metadata v4, scale-in protection.

Run on its own with `python -m local.ecs_agent`; in process with `serving()`. Statuses, bodies,
their order and the rate limit are those of amazon-ecs-agent's task server (ecs-agent/tmds). The
credentials are made up, or come from the STS at `--aws-endpoint`, so that they work there.

Over HTTP, on the agent itself:

    GET  /_local/environment  the variables that ECS would set in the container
    PUT  /_local/credentials  {"mode": one of CREDENTIALS, "times": N or null, "lifetime": seconds}
    PUT  /_local/protection   {"mode": one of PROTECTION, "times": N or null}
    GET  /_local/protection   whether the task is protected now, and until when
    GET  /_local/requests     what came in, oldest first, as in `Seen`
"""

from __future__ import annotations

from local.ecs_agent.agent import Agent
from local.ecs_agent.modes import CREDENTIALS, PROTECTION, Mode
from local.ecs_agent.server import serving
from local.ecs_agent.task import Task

__all__ = ["CREDENTIALS", "PROTECTION", "Agent", "Mode", "Task", "serving"]
