"""The registration request: which runner to register, where, and as what."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sidecar.runner.program import build_arguments
from sidecar.values import NAME_LENGTH


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """The runner to register: its name, labels and group, and the URL and token to do it with."""

    url: str
    token: str | None = field(repr=False)
    name: str
    labels: tuple[str, ...]
    no_default_labels: bool
    group: str | None
    work_dir: str
    unique: bool = False
    """Whether the agent made the name up, so that no other runner can have it."""
    disable_update: bool = True
    """True where the runner is told not to update itself, which not every GitHub server takes."""

    def arguments(self, *, replaces: bool) -> tuple[str, ...]:
        """Return the arguments of `configure`; the token is not among them."""
        flags = ["--unattended", "--ephemeral", *["--disableupdate"] * self.disable_update]
        flags += ["--no-default-labels"] * self.no_default_labels + ["--replace"] * replaces
        options = build_arguments(
            url=self.url,
            name=self.name,
            labels=",".join(self.labels),
            runnergroup=self.group,
            work=self.work_dir,
        )
        return (*flags, *options)


def add_suffix(name: str) -> str:
    """Return `name` with a new random suffix, within the length that GitHub accepts."""
    suffix = "-" + secrets.token_hex(3)
    return name[: NAME_LENGTH - len(suffix)] + suffix
