"""The task that the agent serves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from local import aws


@dataclass(frozen=True)
class Task:
    """The task that the agent serves."""

    role: str = aws.TASK_ROLE
    region: str = aws.REGION
    account: str = aws.ACCOUNT
    cluster: str = "runners"
    family: str = "runner"
    revision: int = 7
    launch_type: str = "EC2"
    network_mode: str = "awsvpc"
    service: str | None = "runners"
    """None: a task that RunTask started, which cannot be protected."""
    cpus_used: float = 0.4
    """The vCPUs that its container keeps busy, as its statistics say."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def arn(self) -> str:
        """The task's ARN."""
        return f"arn:aws:ecs:{self.region}:{self.account}:task/{self.cluster}/{self.id}"

    @property
    def identity(self) -> str:
        """The ARN that STS knows the task role's credentials by."""
        role = self.role.rpartition("/")[2]
        return f"arn:aws:sts::{self.account}:assumed-role/{role}/{self.id}"
