"""Check that GitHub's API answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding, failed, ok, unknown
from sidecar.examination.probe import NoAnswer
from sidecar.examination.reach import OPEN_WAY
from sidecar.github import Scope

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask GitHub's API for what everybody may ask."""
    url = await setup.find_github_url()
    if url is None:
        text = "nothing says yet where the runner is registered"
        return [unknown(text, "set SIDECAR_GITHUB_URL, unless the token's parameter will say it")]
    api = Scope.from_url(url).api
    try:
        answer = await setup.ask(f"{api}/meta")
    except NoAnswer as error:
        return [failed(f"no answer from {api}: {error}", OPEN_WAY[error.trouble])]
    if answer.status >= 500:
        text = f"{api} answers {answer.status}"
        return [failed(text, "look at GitHub's status page, and at what stands between")]
    return [ok(f"{api} answers, for {url}")]
