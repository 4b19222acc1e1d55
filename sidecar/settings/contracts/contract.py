"""What every launcher's contract is made of: by what it is known, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GITHUB = "https://github.com"


@dataclass(slots=True)
class Draft:
    """What a launcher's variables mean, in the agent's own settings; each as the text of one."""

    env: Mapping[str, str]
    """The environment, without what is empty."""
    server: str | None
    """The GitHub that owners and repositories are of, where the user named one."""
    settings: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Which variable each setting was read from, for those who have to mend it."""
    missing: dict[str, str] = field(default_factory=dict)
    """What is wrong, by the setting that it leaves open: one that is given natively heals it."""
    unheeded: list[str] = field(default_factory=list)
    """What the launcher asks for, and the agent does otherwise."""

    def take(self, setting: str, *names: str) -> None:
        """Take the first of the variables that is set."""
        for name in names:
            if name in self.env:
                self.say(setting, self.env[name], name)
                return

    def say(self, setting: str, value: str, name: str) -> None:
        """Set what follows from the variable `name`."""
        self.settings[setting] = value
        self.variables[setting] = name

    def at(self, owner: str, repository: str | None = None, *, host: str = GITHUB) -> None:
        """Register where the variables `owner` and, unless None, `repository` say.

        `host`: the GitHub that they are of, unless the user named one.
        """
        for name in filter(None, (owner, repository)):
            if name not in self.env:
                self.missing["github_url"] = (
                    f"{name} is missing: it says where to register "
                    "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
                )
                return
        parts = [self.server or host, self.env[owner]]
        parts += [self.env[repository]] if repository else []
        self.say("github_url", "/".join(part.strip("/") for part in parts), repository or owner)


@dataclass(frozen=True, slots=True)
class Contract:
    """One launcher's way of telling a container what to register."""

    name: str
    marks: tuple[tuple[str, ...], ...]
    """Sets of variables; whoever sets all of one is this launcher."""
    names: frozenset[str]
    """All that it sets; none of that is a job's business."""
    read: Callable[[Draft], None]

    def mark(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return by which variables it is recognised; none if it is not."""
        return next((mark for mark in self.marks if all(name in env for name in mark)), ())
