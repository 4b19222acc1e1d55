"""Check that GitHub takes the stored token, for the URL where the runner is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.examination.probe import NoAnswer
from sidecar.examination.reach import OPEN_WAY
from sidecar.github import GitHubError, PermissionDenied
from sidecar.github.actions_service import ActionsService
from sidecar.github.runner_key import RunnerKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask GitHub about the token, or about the runner that is registered just in time."""
    try:
        found = await setup.token()
    except SidecarError:
        return []  # the check of the token tells it
    if found is None:
        return []
    url = found.url or setup.settings.github_url
    try:
        if found.token.jit is not None:
            return [await _ask_as_runner(url, found.token.jit)]
        if found.token.token is not None and url is not None:
            return [await _exchange(setup, url, found.token.token)]
    except GitHubError as error:
        return [warning(str(error), "see the lines github and clock")]
    return []


async def _exchange(setup: Setup, url: str, token: str) -> Finding:
    """Exchange the token as the runner's configure step does first; nothing is registered."""
    try:
        async with ActionsService(url) as service:
            exchange = await service.exchange(token, "register", tries=1)
    except PermissionDenied as error:
        change = "mint a token for this URL, within the hour (SIDECAR_GITHUB_URL)"
        return failed(f"GitHub does not take the token for {url} ({error.status})", change)
    name = urlsplit(exchange.service_url).netloc
    try:
        await setup.ask(exchange.service_url)
    except NoAnswer as error:
        text = f"GitHub takes the token, but its service {name} cannot be reached: {error}"
        return failed(text, OPEN_WAY[error.trouble])
    return ok(f"GitHub takes the token; its service {name} answers")


async def _ask_as_runner(url: str | None, files: Mapping[str, bytes]) -> Finding:
    """Ask with the runner's own key, which is in its just-in-time configuration."""
    key = RunnerKey.read(files[".credentials"], files[".credentials_rsaparams"])
    # Without a URL the configuration itself names GitHub.
    async with ActionsService(url or key.authorization_url) as service:
        known = await service.knows_key(key, tries=1)
    if known:
        return ok("GitHub knows the runner of the just-in-time configuration")
    text = "GitHub does not know the runner of the just-in-time configuration (any more)"
    return failed(text, "make a configuration for each task: one is good for one job, for an hour")
