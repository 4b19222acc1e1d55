"""ECS's control plane, whose tasks really start agents.

In process with `serving()`. Each task is an agent that really runs (`AgentHost`): its exit code is
the container's, StopTask sends it SIGTERM and, after the stop timeout, SIGKILL. What ECS checks and
moto does not is checked here: client tokens, which remember refusals too, the size of overrides,
the characters of startedBy, the names of containers, the roles that may be passed. Each change of a
task is told as EventBridge tells it (`events`). Put `local.faults` in front of it for answers that
fail or get lost.
"""

from local.ecs.checks import LONGEST_OVERRIDES, PROVIDERS, RefusedError
from local.ecs.droughts import Drought
from local.ecs.events import send_to_queue
from local.ecs.hosts import AgentHost
from local.ecs.plane import CONFLICT, ControlPlane
from local.ecs.server import TARGET, serving
from local.ecs.tasks import (
    CANNOT_PULL,
    MEMORY,
    NO_ADDRESS,
    NO_CAPACITY,
    NO_MACHINE,
    PREFIX,
    STOP_TIMEOUT,
    Task,
    TaskDefinition,
)

__all__ = [
    "CANNOT_PULL",
    "CONFLICT",
    "LONGEST_OVERRIDES",
    "MEMORY",
    "NO_ADDRESS",
    "NO_CAPACITY",
    "NO_MACHINE",
    "PREFIX",
    "PROVIDERS",
    "STOP_TIMEOUT",
    "TARGET",
    "AgentHost",
    "ControlPlane",
    "Drought",
    "RefusedError",
    "Task",
    "TaskDefinition",
    "send_to_queue",
    "serving",
]
