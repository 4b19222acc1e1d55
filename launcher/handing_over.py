"""Write a token for one task, and never a second one because an earlier process died."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from launcher.places.request import read_token_key
from sidecar import github
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from launcher.journal import Journal
    from launcher.launch_runners import LaunchRunners
    from launcher.record.launch import Launch
    from launcher.tokens import RunnerToken, TokenMaker, TokenStore

log = structlog.get_logger()

GENERATIONS = 5
"""Names that are tried for one task: each is taken only where an answer of GitHub's was lost."""
UNSETTLED_FOR = 60.0
"""Seconds after a token was announced, in which an agent that has read it may not be online yet."""


@dataclass(frozen=True, slots=True)
class HandingOver:
    """The stage after the task is there: its token is made, announced and written."""

    store: TokenStore
    maker: TokenMaker
    runners: LaunchRunners
    journal: Journal
    now: Callable[[], float] = time.time
    keeps_token: Callable[[], Awaitable[bool]] | None = None
    """Says whether the agent of the next token leaves its parameter to the launcher."""
    seals: bool = False
    """Whether only the task's own agent can read its token: one that registers more runners."""

    async def hand_over(self, launch: Launch, tags: dict[str, str]) -> Launch:
        """Write a token for the task alone. Raises SidecarError.

        Where it is not known yet whether an earlier token was read, the launch comes back without
        `handed_over`: then call again later.
        """
        if launch.handed_over:
            return launch
        if launch.generation or launch.may_exist:
            launch, is_known = await self._find_earlier(launch)
            if launch.handed_over or not is_known:
                return launch
        launch, token = await self._make_token(launch)
        task = launch.task
        repeated = await self.store.write(task, token, tags, lambda: self.runners.is_online(launch))
        launch = replace(launch, handed_over=True, may_be_left=repeated or launch.may_be_left)
        launch = await self.journal.save(launch)
        log.info("token.handed_over", **launch.facts, runner=launch.runner_name)
        return launch

    async def _find_earlier(self, launch: Launch) -> tuple[Launch, bool]:
        """Look for a token or runner of an earlier process; also whether it is known now.

        Of a token that was announced, and is not there, nobody knows whether it was never written
        or its agent has read it. An agent that has read it is online soon.
        """
        generation = launch.generation or 1
        name = self.runners.name(launch, generation)
        found = None
        if not await self.store.exists(launch.task):
            found = await self.runners.find(name)
            there = found is not None and (found.online or found.busy or not launch.generation)
            if not there:
                is_known = self.now() - launch.announced_at >= UNSETTLED_FOR
                if found is not None and is_known:
                    await self.runners.delete(name)
                return launch, is_known
        handed = replace(
            launch,
            generation=generation,
            runner_name=name,
            runner_id=found.id if found else launch.runner_id,
            handed_over=True,
            may_be_left=True,  # the process before may have written it twice
        )
        return await self.journal.save(handed), True

    async def _make_token(self, launch: Launch) -> tuple[Launch, RunnerToken]:
        for _ in range(GENERATIONS):
            before = launch
            name = self.runners.name(launch, launch.generation + 1)
            key = _read_token_key(launch)
            # A job could read it until it is deleted.
            is_safe = key is not None or not self.seals
            keeps = is_safe and self.keeps_token is not None and await self.keeps_token()
            announced = launch.next_generation(name, self.now())
            launch = await self.journal.save(replace(announced, keeps_token=keeps))
            try:
                token = await self.maker.make(name, keep=launch.keeps_token)
            except github.NameTaken:
                await self.runners.delete(name)  # an answer was lost, and with it its token
                continue
            except SidecarError as error:
                if _is_refusal(error):  # or no credential to ask with: no runner has that name
                    await self.journal.save(replace(launch, generation=before.generation))
                raise
            launch = replace(launch, runner_id=token.runner_id)
            return launch, token.seal(key, launch.task) if key is not None else token
        raise github.GitHubError(f"cannot register a runner for {launch.place}: its name is taken")


def _is_refusal(error: SidecarError) -> bool:
    """Whether GitHub has made nothing: no answer of it may be lost."""
    if isinstance(error, github.RateLimited):
        return error.tries == 1
    return not isinstance(error, github.TransientError)


def _read_token_key(launch: Launch) -> str | None:
    """Return the key that the launch's agent has; one that was started unrecorded has its own."""
    return None if launch.may_exist else read_token_key(json.loads(launch.request or "{}"))
