"""Check that GitHub takes the stored token for the URL where the runner is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.doctor.checks.github import OPEN_WAY
from sidecar.doctor.finding import Finding, failed, ok, warning
from sidecar.doctor.probe import NoAnswer
from sidecar.errors import SidecarError
from sidecar.github import GitHubError, PermissionDenied
from sidecar.github.actions_service import ActionsService

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Exchange the token as the runner's configure step does first; nothing is registered."""
    try:
        found = await setup.token()
    except SidecarError:
        return []  # the check of the token tells it
    url = (found.token.url if found is not None else None) or setup.settings.github_url
    if found is None or found.token.token is None or url is None:
        return []
    try:
        async with ActionsService(url) as service:
            exchange = await service.exchange(found.token.token, "register", tries=1)
    except PermissionDenied as error:
        change = "mint a token for this URL, within the hour (SIDECAR_GITHUB_URL)"
        return [failed(f"GitHub does not take the token for {url} ({error.status})", change)]
    except GitHubError as error:
        return [warning(str(error), "see the line github")]
    return [await _check_service(setup, exchange.service_url)]


async def _check_service(setup: Setup, url: str) -> Finding:
    """Ask the service that the runner registers with."""
    name = urlsplit(url).netloc
    try:
        await setup.ask(url)
    except NoAnswer as error:
        text = f"GitHub takes the token, but its service {name} cannot be reached: {error}"
        return failed(text, OPEN_WAY[error.trouble])
    return ok(f"GitHub takes the token; its service {name} answers")
