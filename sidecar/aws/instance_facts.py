"""Say who and where a machine is, from what its instance metadata service said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from sidecar.aws import ecr
from sidecar.aws.instance_metadata import DOCUMENT, ROLES, TAGS
from sidecar.aws.task_metadata import TaskFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINE = "machine"
"""The network mode of an agent on a machine: the machine's own network, which is the job's."""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Facts about the machine; each but the id may be missing."""

    id: str
    type: str = ""
    image: str = ""
    zone: str = ""
    life_cycle: str = ""
    """`on-demand` or `spot`."""
    role: str = ""
    """The name of the role of its instance profile."""
    tags: tuple[str, ...] = ()
    """The keys of its tags; none where its metadata do not show them."""
    ecr_registry: str | None = None
    """The private ECR registry of its account and region; None if they are unknown."""
    title: ClassVar[str] = "EC2 instance"
    network_modes: frozenset[str] = field(default=frozenset({MACHINE}), init=False)

    @classmethod
    def from_metadata(cls, machine: Mapping[str, str]) -> InstanceFacts:
        """Take the facts of `instance_metadata.read_machine`."""
        return cls(
            id=machine["instance-id"],
            type=machine.get("instance-type", ""),
            image=machine.get("ami-id", ""),
            zone=machine.get("placement/availability-zone", ""),
            life_cycle=machine.get("instance-life-cycle", ""),
            role=machine.get(ROLES, ""),
            ecr_registry=ecr.registry_of_document(machine.get(DOCUMENT)),
            tags=tuple(
                name.removeprefix(f"{TAGS}/") for name in machine if name.startswith(f"{TAGS}/")
            ),
        )

    @property
    def is_spot(self) -> bool:
        """Whether AWS may take the instance back."""
        return self.life_cycle == "spot"

    @property
    def shown_id(self) -> str:
        """The id as it stands in the runner's name: whole, because launchers look for it."""
        return self.id

    @property
    def lines(self) -> dict[str, str]:
        """What every job's first log group shows."""
        return {
            "Instance": self.id,
            "Zone": self.zone,
            "Type": self.type,
            "Image": self.image,
            "Life cycle": self.life_cycle,
        }


Facts: TypeAlias = TaskFacts | InstanceFacts
"""Who and where the agent is: a task of ECS, or a machine."""
