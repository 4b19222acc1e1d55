"""A caller of GARO's contract at the deployed API: it has its machines in an account of its own."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local import aws
from tests.deploy.guests import ACCOUNT, REPOSITORY

if TYPE_CHECKING:
    import aiohttp

    from tests.deploy.stage import Stage

CALLER, EXTERNAL_ID, SESSION = "gov", "another-external-id", 1800
ROLE = f"arn:aws:iam::{ACCOUNT}:role/GitHubRunnerAssumeRole"
TYPES = {"ondemand": "guest-machine", "spot": "guest-fleet"}
"""The pool of each `type` that a request may name."""
POOLS = f"""
[[garo]]
name = "{CALLER}"
repositories = ["{REPOSITORY}"]
account = "{ACCOUNT}"
role = "{ROLE}"
external_id = "{EXTERNAL_ID}"
session = {SESSION}
types = {{ ondemand = "{TYPES["ondemand"]}", spot = "{TYPES["spot"]}" }}
"""
COMMIT = "0123456789" * 4


@dataclass(frozen=True)
class Ordered:
    """One order by GARO's contract, from its start to its end."""

    kind: str
    begun: dict[str, Any]
    replayed: dict[str, Any]
    """The answer to the very same request, sent again."""
    states: tuple[str, ...]
    """The states that the caller was told, each once, in order."""


async def order_machines(session: aiohttp.ClientSession, stage: Stage) -> list[Ordered]:
    """Order one machine of each type, look at it and stop it, until it takes no place any more."""
    token = _make_token(stage)
    wrong = {"type": "spot", "external_id": "an-external-id"}  # it is another caller's
    status, found, _ = await _send(session, stage, "start", _sign(token, **wrong))
    assert (status, found["error"].rpartition(" ")[0]) == (403, _NOT_LISTED)
    return [await _order(session, stage, token, kind) for kind in TYPES]


_NOT_LISTED = "repo, account_id and external_id are not listed"


async def _order(session: aiohttp.ClientSession, stage: Stage, token: str, kind: str) -> Ordered:
    stage.calls["Api"].lost.add("AmazonSSM.PutParameter")  # then it looks whether it is there
    request = _sign(token, type=kind)
    begun, replayed = [await _ask(session, stage, "start", request) for _ in range(2)]

    async def ask(path: str) -> dict[str, Any]:
        return await _ask(session, stage, path, _sign(token, name=begun["name"]))

    told = [begun, await ask("state"), await ask("stop")]
    # Nobody asks any more, and no event comes: the schedule alone sees it to its end.
    while await asyncio.to_thread(_count_places, stage):
        await asyncio.to_thread(stage.deployed.tick_api)
    told.append(await ask("state"))
    states = dict.fromkeys(each["runnerstate"] for each in told)
    return Ordered(kind, begun, replayed, tuple(states))


def _count_places(stage: Stage) -> int:
    """Count the machines that this caller has, as the launcher knows it."""
    deployed = stage.deployed
    items = aws.read_table(deployed.url, deployed.outputs["TableName"])
    return sum(
        int(each["places"]["N"])
        for each in items
        if "places" in each and each["id"]["S"].endswith(f"caller/{CALLER}")
    )


def _make_token(stage: Stage) -> str:
    """Make an installation's token that may write to the repository, as a workflow has it."""
    world = stage.github.world
    owner, _, name = REPOSITORY.partition("/")
    installed = world.apps.install(world.apps.add("actions", 1, 1), owner, repositories=(name,))
    token = world.mint("installation", None)
    token.installation_id = installed.id
    token.permissions = {"metadata": "read", "contents": "write"}
    return token.value


def _sign(token: str, **more: str) -> tuple[bytes, dict[str, str]]:
    """Return a body and the headers by which it is signed."""
    fields = {
        "repo": REPOSITORY,
        "account_id": ACCOUNT,
        "external_id": EXTERNAL_ID,
        "time": int(time.time()),
        **more,
    }
    body = json.dumps(fields).encode()
    return body, {
        "Content-Type": "application/json",
        "X-GitHub-Token": token,
        "X-GitHub-CommitSHA": COMMIT,
        "X-GitHub-Signature": hmac.digest(token.encode(), body, hashlib.sha512).hex(),
    }


async def _ask(
    session: aiohttp.ClientSession, stage: Stage, path: str, request: tuple[bytes, dict[str, str]]
) -> dict[str, Any]:
    """Ask until it is done: what may pass has a header that says when to ask again."""
    while True:
        status, found, again = await _send(session, stage, path, request)
        if status == 200:
            return found
        assert again is not None, (path, status, found)
        await asyncio.sleep(float(again))


async def _send(
    session: aiohttp.ClientSession, stage: Stage, path: str, request: tuple[bytes, dict[str, str]]
) -> tuple[int, dict[str, Any], str | None]:
    body, headers = request
    async with session.post(stage.deployed.api_url + path, data=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")
