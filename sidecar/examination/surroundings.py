"""Name what the checks of the network need to know of a set-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.examination.patience import Patience
    from sidecar.examination.probe import Answer


class Surroundings(Protocol):
    """A set-up, as its network sees it."""

    @property
    def patience(self) -> Patience:
        """The seconds that one check may take."""

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment."""

    @property
    def signs_for_github(self) -> bool:
        """Whether it is a GitHub App, whose signatures hold the time."""

    @property
    def relays(self) -> bool:
        """Whether jobs get the addresses of their credentials from it, and NO_PROXY with them."""

    async def ask(self, url: str) -> Answer:
        """Ask a server for anything. Raises NoAnswer."""

    async def list_urls(self) -> list[str]:
        """List what is connected to."""
