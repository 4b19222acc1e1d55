"""Say what the rules for containers are, and choose the first one that matches a container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.documents.patterns import matches_any

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = "job"
"""The role of the container's job."""
SERVICE_LABEL = "com.docker.compose.service"
"""The label in which compose says which service a container is."""


@dataclass(frozen=True, slots=True)
class Container:
    """The facts about a container, as its create request says them: they never change later."""

    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    shares_network: bool = False
    """Whether it has no network of its own, so that its requests look like another's."""


@dataclass(frozen=True, slots=True)
class ContainerRule:
    """One `[[container]]`. Every key that is there must match."""

    name: str
    role: str
    """`none`, JOB, or the ARN of a role."""
    image: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    """`key=value`, which may hold stars, or a key alone."""
    service: tuple[str, ...] = ()
    policy: str | None = field(default=None, repr=False)
    """A session policy as JSON, for JOB."""

    @property
    def is_plain(self) -> bool:
        """Whether the container has what its job has."""
        return self.role == JOB and self.policy is None

    def matches(self, container: Container) -> bool:
        """Return whether the rule is for this container."""
        if self.image and not matches_any(self.image, container.image or ""):
            return False
        if self.label and not any(_has_label(one, container.labels) for one in self.label):
            return False
        service = container.labels.get(SERVICE_LABEL)
        return not self.service or (service is not None and matches_any(self.service, service))


def _has_label(pattern: str, labels: Mapping[str, str]) -> bool:
    key, equals, value = pattern.partition("=")
    if not equals:
        return key in labels
    return key in labels and matches_any((value,), labels[key])


def find_rule(rules: tuple[ContainerRule, ...], container: Container) -> ContainerRule | None:
    """Return the first rule that matches; None: the container has its job's role."""
    return next((rule for rule in rules if rule.matches(container)), None)
