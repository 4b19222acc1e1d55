"""A runner that is registered just in time: its configuration is handed over, not made here."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sidecar import github
from sidecar.errors import RegistrationError, TokenError
from sidecar.runner.registration import RENAMES, renamed
from sidecar.tokens import value

if TYPE_CHECKING:
    from sidecar.runner.program import Finished
    from sidecar.runner.registration import Wish
    from sidecar.runner.root import Root

log = structlog.get_logger()

DEFAULT_GROUP = 1
"""The id of the group "Default" in every scope."""


class JustInTime:
    """The runner at GitHub; it can be removed by GitHub's API alone, never by its own program."""

    def __init__(self, root: Root, wish: Wish, right: value.Right) -> None:
        self.wish = wish
        self.complete = False
        self._root = root
        self._right = right

    @property
    def exists(self) -> bool:
        """Whether GitHub may know the runner."""
        return self._right.jit is not None

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self._right.name or self.wish.name

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for it."""
        return self._right.runner_id

    @property
    def unique(self) -> bool:
        """Whether no other runner can have the name: its number is known, so it does not matter."""
        return False

    async def register(self, finished: Finished | None = None) -> None:
        """Write its configuration into the runner's folder."""
        del finished
        assert self._right.jit is not None  # noqa: S101  that is what makes it just in time
        self._root.unpack(self._right.jit)
        self._root.keep_copies()
        self.complete = True
        log.info("runner.registered", name=self.name, url=self.wish.url, just_in_time=True)


async def minted(runners: github.Runners, wish: Wish) -> value.Right:
    """Register just in time through GitHub's API. Raises RegistrationError.

    A taken name may be ours, if the answer was lost; the nameless runner then goes after a day,
    so it is tried with a new suffix.
    """
    group = DEFAULT_GROUP if wish.group is None else _group(wish.group)
    for _ in range(RENAMES):
        try:
            config = await runners.jit(wish.name, labels(wish), group, wish.work_dir)
        except github.NameTaken:
            log.warning("runner.name_taken", name=wish.name)
            wish = replace(wish, name=renamed(wish.name))
        except github.GitHubError as error:
            raise RegistrationError(f"cannot register {wish.name} just in time: {error}") from error
        else:
            right = value.jit(config.blob, "GitHub's answer")
            if right is None:
                raise TokenError("cannot use GitHub's just-in-time configuration: unknown form")
            return replace(right, runner_id=config.runner_id, name=config.name)
    raise RegistrationError(f"cannot register just in time: {wish.name} is taken (SIDECAR_NAME)")


def labels(wish: Wish) -> tuple[str, ...]:
    """Return all labels: just in time GitHub adds none by itself."""
    if wish.no_default_labels:
        return wish.labels
    machine = {"x86_64": "X64", "amd64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}
    system = {"Linux": "Linux", "Windows": "Windows", "Darwin": "macOS"}
    own = (
        "self-hosted",
        system.get(platform.system(), platform.system()),
        machine.get(platform.machine().lower(), platform.machine()),
    )
    return tuple(dict.fromkeys((*own, *wish.labels)))


def _group(name: str) -> int:
    if not name.isdigit():
        raise RegistrationError(
            f"cannot register just in time in the group {name!r}: SIDECAR_RUNNER_GROUP must be "
            "the group's number here (example: SIDECAR_RUNNER_GROUP=1)"
        )
    return int(name)
