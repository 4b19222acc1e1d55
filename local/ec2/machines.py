"""Launch templates and machines."""

from __future__ import annotations

import asyncio
import base64
import copy
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import aws
from local.ec2.checks import read_tags
from local.ec2.protocol import moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Program = Callable[["Machine"], Awaitable[None]]

CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
SHUT_DOWN = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
ENDED_BY_USER = "Client.UserInitiatedShutdown", "User initiated shutdown"
SPOT = "Server.SpotInstanceTermination", "Spot instance termination"
NO_ROOM = (
    "Server.InsufficientInstanceCapacity",
    "Insufficient capacity to satisfy instance request",
)
OLD_FAMILIES = ("t2.", "m4.", "c4.", "r4.")
"""Types that show their console only after their state has changed."""
CONSOLE_KEPT = 65_536
"""Characters of a console, the last ones."""


@dataclass(frozen=True)
class LaunchTemplate:
    """One version of a launch template; it is the default and the latest."""

    id: str = "lt-0123456789abcdef0"
    name: str = "runner"
    version: int = 1
    data: Mapping[str, Any] = field(
        default_factory=lambda: {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.small"}
    )

    def is_named(self, wanted: Mapping[str, Any]) -> bool:
        """Whether a specification names it, whatever the version."""
        names = wanted.get("LaunchTemplateId", self.id), wanted.get("LaunchTemplateName", self.name)
        return names == (self.id, self.name)

    def has_version(self, wanted: str) -> bool:
        """Whether this is the version that is wanted."""
        return wanted in ("$Default", "$Latest", str(self.version))

    def describe(self) -> dict[str, Any]:
        """Describe it as DescribeLaunchTemplateVersions does."""
        return {
            "LaunchTemplateId": self.id,
            "LaunchTemplateName": self.name,
            "VersionNumber": self.version,
            "DefaultVersion": True,
            "LaunchTemplateData": copy.deepcopy(dict(self.data)),
        }


@dataclass
class Machine:
    """One instance: what was asked for, and what has become of it."""

    wanted: dict[str, Any]
    capacity: str
    zone: str
    now: Callable[[], float]
    changed: Callable[[Machine], None]
    account: str = aws.ACCOUNT
    """The account that it belongs to."""
    id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}0")
    state: str = "pending"
    reason: tuple[str, str] | None = None
    launched_at: float = 0.0
    ended_at: float | None = None
    unseen: int = 0
    """How many more looks do not find it."""
    console: str = ""
    kept: str = ""
    """The console as it was when the state changed."""
    is_taken_soon: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: Spot takes the machine in two minutes, as its metadata tell it."""
    is_at_risk: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: a rebalance recommendation."""
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: somebody ends it from outside."""
    story: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.tags = read_tags(self.wanted)
        self.launched_at = self.now()

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.wanted["InstanceType"])

    @property
    def user_data(self) -> str:
        """The text that it runs when it starts."""
        return base64.b64decode(self.wanted.get("UserData", "")).decode()

    @property
    def behaviour(self) -> str:
        """What a shutdown from inside does: stop, unless something else was asked for."""
        return str(self.wanted.get("InstanceInitiatedShutdownBehavior", "stop"))

    @property
    def lives(self) -> bool:
        """Whether it costs money."""
        return self.state != "terminated"

    def say(self, text: str) -> None:
        """Write a line on its console."""
        self.console = f"{self.console}{text}\r\n"[-CONSOLE_KEPT:]

    def enter(self, state: str, reason: tuple[str, str] | None = None) -> None:
        """Enter a state; the first reason counts."""
        self.state, self.reason = state, self.reason or reason
        self.kept = self.console
        if state == "terminated":
            self.ended_at = self.now()
        self.changed(self)

    def end(self, reason: tuple[str, str] = ENDED_BY_USER) -> None:
        """End it from outside."""
        if self.state in ("shutting-down", "terminated"):
            return
        if self.state == "stopped":
            self.enter("terminated", reason)
            return
        self.enter("shutting-down", reason)
        self.ends.set()

    def halt(self) -> None:
        """Stop it from the console of AWS: it is not terminated."""
        self.wanted["InstanceInitiatedShutdownBehavior"] = "stop"
        self.enter("stopping")
        self.ends.set()

    def show_console(self, *, latest: bool) -> str:
        """Return what GetConsoleOutput answers, before it is encoded."""
        return self.console if latest else self.kept

    def describe(self) -> dict[str, Any]:
        """Describe it as DescribeInstances does."""
        found: dict[str, Any] = {
            "InstanceId": self.id,
            "ImageId": self.wanted["ImageId"],
            "InstanceType": self.kind,
            "LaunchTime": moment(self.launched_at),
            "Placement": {"AvailabilityZone": self.zone},
            "State": {"Code": CODES[self.state], "Name": self.state},
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(self.tags.items())],
            "ClientToken": self.wanted.get("ClientToken", ""),
            "MetadataOptions": self.wanted.get("MetadataOptions", {}),
        }
        found |= {"SubnetId": self.wanted["SubnetId"]} if "SubnetId" in self.wanted else {}
        found |= {"InstanceLifecycle": "spot"} if self.capacity == "spot" else {}
        if self.reason is not None:
            code, text = self.reason
            found["StateReason"] = {"Code": code, "Message": f"{code}: {text}"}
            found["StateTransitionReason"] = f"User initiated ({moment(self.now()):%F %T} GMT)"
        return found
