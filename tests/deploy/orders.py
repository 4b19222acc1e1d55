"""Order each kind of runner from the deployed API, look at it, and stop it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from local.github import payloads
from tests.deploy import garo
from tests.deploy.guests import GUEST_REF, ORDERS, REPOSITORY

if TYPE_CHECKING:
    from tests.deploy.stage import Stage


@dataclass(frozen=True)
class Placed:
    """One order, from its start to its end."""

    label: str
    begun: dict[str, Any]
    """The answer to its start."""
    states: tuple[str, ...]
    """The states that the caller was told, each once, in order."""


async def order_runners(stage: Stage) -> tuple[list[Placed], list[garo.Ordered]]:
    """Order one runner of each kind in each account; then machines by GARO's contract.

    No event tells the worker of their ends, as none comes out of another account: so the API has
    to see each of them to its end by itself, when its caller asks.
    """
    stage.ecs.may_run.clear()
    kept = stage.ecs.events.lose, stage.ec2.events.lose
    stage.ecs.events.lose = stage.ec2.events.lose = lambda _event: True
    try:
        async with aiohttp.ClientSession() as session:
            await _refuse_forged(session, stage)
            placed = [await _order(session, stage, *each) for each in ORDERS]
            return placed, await garo.order_machines(session, stage)
    finally:
        stage.ecs.events.lose, stage.ec2.events.lose = kept
        stage.ecs.may_run.set()


async def _order(session: aiohttp.ClientSession, stage: Stage, label: str, ref: str) -> Placed:
    if ref == GUEST_REF:  # then the API has to look whether the token is there
        stage.calls["Api"].lost.add("AmazonSSM.PutParameter")
    token = make_token(stage, ref)
    begun = await _ask(session, stage, "start", {"labels": [label]}, token)
    named = {"id": begun["id"]}
    states = [await _ask(session, stage, path, named, token) for path in ("state", "stop")]
    while states[-1]["state"] != "ended":
        states.append(await _ask(session, stage, "state", named, token))
    told = [begun["state"], *(each["state"] for each in states)]
    return Placed(label, begun, tuple(dict.fromkeys(told)))


def make_token(stage: Stage, ref: str) -> str:
    """Make GitHub's token of a job on a branch."""
    number = payloads.number_of(REPOSITORY)
    token = stage.issuer.mint(repository=REPOSITORY, repository_id=number, ref=ref)
    stage.tokens.append(token)
    return token


async def _ask(
    session: aiohttp.ClientSession, stage: Stage, path: str, document: Any, token: str
) -> dict[str, Any]:
    """Ask until it is done: what may pass has a header that says when to ask again."""
    while True:
        status, found, again = await _send(session, stage, path, document, token)
        if status == 200:
            return found
        assert again is not None, (path, status, found)
        await asyncio.sleep(float(again))


async def _refuse_forged(session: aiohttp.ClientSession, stage: Stage) -> None:
    token = make_token(stage, ORDERS[0][1])
    document = {"labels": [ORDERS[0][0]]}
    status, found, _ = await _send(session, stage, "start", document, token[:-8] + "AAAAAAAA")
    assert (status, list(found)) == (401, ["error"])


async def _send(
    session: aiohttp.ClientSession, stage: Stage, path: str, document: Any, token: str
) -> tuple[int, dict[str, Any], str | None]:
    async with session.post(
        stage.deployed.api_url + path,
        data=json.dumps(document),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    ) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")
