"""The contract of a launcher: by which variables it is recognised, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GITHUB = "https://github.com"
LONGEST_NAME = 39
"""Characters of a launcher's RUNNER_NAME that are kept: a separator and a unique rest still fit."""

INSTANCE_ID, REGION = "instance-id", "placement/region"
"""Facts that a machine is told about itself, by the instance metadata service's names, and
no variable of an environment is called so."""


def tag(key: str) -> str:
    """Return the name of a machine's tag, as in the instance metadata service."""
    return f"tags/instance/{key}"


@dataclass(slots=True)
class Draft:
    """Collects the settings that a launcher's variables stand for, each as text."""

    env: Mapping[str, str]
    """The environment, without empty variables; on a machine also its id and its tags."""
    server: str | None
    """The GitHub server of owners and repositories, if the user set one."""
    settings: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """The variable that each setting was read from: an error names it."""
    missing: dict[str, str] = field(default_factory=dict)
    """What is wrong, by the setting that cannot be read; void if the user sets that one."""
    problems: list[str] = field(default_factory=list)
    """The mistakes that stay whatever the user sets."""
    ignored: list[str] = field(default_factory=list)
    """What the launcher asks for and the agent does not do."""
    region: str | None = None
    """The AWS region, from launchers that do not set AWS_REGION."""

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
class Form:
    """The form of a variable's value, where its name alone may mean something else."""

    pattern: str
    text: str
    """The same in words."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One launcher's way to tell a container what to register."""

    name: str
    marks: tuple[tuple[str, ...], ...]
    """Sets of variables; the launcher is recognised if all of one set are there."""
    names: frozenset[str]
    """Every variable that it sets; jobs get none of them."""
    read: Callable[[Draft], None]
    """Fills in the draft."""
    forms: Mapping[str, Form] = field(default_factory=dict)
    """The forms of variables that it is recognised by; other values are another's."""
    last: bool = False
    """Recognised only where there is no other launcher, nor a token in the agent's settings."""

    def mark(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the variables by which it is recognised; none if it is not."""
        return next(
            (mark for mark in self.marks if all(self._is_set(name, env) for name in mark)), ()
        )

    def describe_marks(self) -> str:
        """Return by which variables it is recognised, in words."""
        return " or ".join(" and ".join(map(self._describe, mark)) for mark in self.marks)

    def _is_set(self, name: str, env: Mapping[str, str]) -> bool:
        form = self.forms.get(name)
        return name in env and (form is None or bool(re.fullmatch(form.pattern, env[name])))

    def _describe(self, name: str) -> str:
        return f"{name} ({self.forms[name].text})" if name in self.forms else name
