"""The contract of a launcher: by which variables it is recognised, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GITHUB = "https://github.com"


@dataclass(slots=True)
class Draft:
    """Collects the settings that a launcher's variables stand for, each as text."""

    env: Mapping[str, str]
    """The environment, without empty variables."""
    server: str | None
    """The GitHub server of owners and repositories, if the user set one."""
    settings: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """The variable that each setting was read from: an error names it."""
    missing: dict[str, str] = field(default_factory=dict)
    """What is wrong, by the setting that cannot be read; void if the user sets that one."""
    ignored: list[str] = field(default_factory=list)
    """What the launcher asks for and the agent does not do."""

    def take(self, setting: str, *names: str) -> None:
        """Set `setting` from the first of the variables that is set, if any."""
        for name in names:
            if name in self.env:
                self.set(setting, self.env[name], name)
                return

    def set(self, setting: str, value: str, name: str) -> None:
        """Set `setting` to a value that follows from the variable `name`."""
        self.settings[setting] = value
        self.variables[setting] = name

    def set_url(self, owner: str, repository: str | None = None, *, host: str = GITHUB) -> None:
        """Set `github_url` from the variables named `owner` and, unless None, `repository`.

        `host`: their GitHub server, unless the user set one.
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
        self.set("github_url", "/".join(part.strip("/") for part in parts), repository or owner)


@dataclass(frozen=True, slots=True)
class Contract:
    """How one launcher tells a container what to register."""

    name: str
    marks: tuple[tuple[str, ...], ...]
    """Sets of variables; the launcher is recognised if all of one set are there."""
    names: frozenset[str]
    """Every variable that it sets; jobs get none of them."""
    read: Callable[[Draft], None]
    """Fills in the draft."""

    def mark(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the variables by which it is recognised; none if it is not."""
        return next((mark for mark in self.marks if all(name in env for name in mark)), ())
