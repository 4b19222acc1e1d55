"""Run one cell of the API's table: an order, one call that fails, the answer, and its end.

The caller asks again as long as it is not answered 200. A fault that does not pass by itself is
lifted after the first answer. Then the runner must come online, and a stop must leave nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench import table
from launcher.api import accounts, garo, keys, proof
from launcher.api_assembly import open_api
from launcher.settings import MODELS, load
from local import agent, aws, oidc, sts
from sidecar.aws import session
from tests.failures.launch_cell import Ended, look, make_rule
from tests.failures.launching import ANSWER_WITHIN, REPOSITORY, open_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from docs.failures import Row
    from launcher.api.answers import Answer
    from launcher.api.api import Api
    from tests.failures.launching import Stage

PATIENCE = 60.0
"""Seconds for each part of a cell."""
LOOK_EVERY = 0.3
LASTING = ("403", "404", "never")
ENDS = ("ended", "removing", "done")
"""The states of an order that is over, in both contracts."""
OTHER = "210987654321"
ROLE = f"arn:aws:iam::{OTHER}:role/runners"
ACCOUNT = f"""\
account = "{OTHER}"
role = "{ROLE}"
external_id = "an-external-id"
"""
TASKS = """\
cluster = "runners"
task_definition = "runner:1"
launch_type = "EC2"
"""
MACHINES = """\
place = "ec2"
launch_template = "runner"
"""
POOLS = """\
[[pool]]
name = "build"
labels = ["bench"]
{place}
[[caller]]
name = "octo"
repositories = [7]
pools = ["build"]
{account}
[[garo]]
name = "alphagov"
repositories = ["{repository}"]
{other}
types = {{ spot = "build" }}
"""
FIELDS = {
    "repo": REPOSITORY,
    "account_id": OTHER,
    "external_id": "an-external-id",
    "type": "spot",
}


@contextmanager
def hurried() -> Iterator[None]:
    """Shorten what the API waits, and let its other accounts use the clients of all cells."""
    with (
        patch.object(accounts, "get_session", session.get_session),
        patch.object(accounts, "TIMEOUT", 2 * ANSWER_WITHIN),
        patch.object(keys, "AGAIN", 0.0),
        patch.object(proof, "KEPT", 0.0),
        patch.object(garo, "WINDOW", 600.0),  # the same request again, on a busy machine too
    ):
        yield


class Caller:
    """A caller of the API, who signs each request in one of the two ways."""

    def __init__(self, api: Api, issuer: oidc.Issuer, token: str | None) -> None:
        self._api = api
        self._issuer = issuer
        self._token = token
        self._begun = {**FIELDS, "time": int(time.time())}
        self._own = issuer.mint()
        self.named: dict[str, str] = {}

    async def fetch_keys(self) -> None:
        """Let the API have the issuer's keys: they are not what fails."""
        wanted = {"labels": ["bench"], "dryrun": True}
        while (await self._native("/start", wanted, self._own)).status == 503:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)

    async def start(self) -> Answer:
        """Order a runner; each time the same one."""
        if self._token is not None:
            answer = await self._garo("/start", self._begun)
        else:
            answer = await self._native("/start", {"labels": ["bench"]}, self._own)
        if answer.status == 200:
            name = "id" if self._token is None else "name"
            self.named = {name: answer.document[name]}
        return answer

    async def ask(self, path: str) -> Answer:
        """Ask for the order's state, or for its end."""
        if self._token is not None:
            return await self._garo(path, {**FIELDS, "time": int(time.time()), **self.named})
        return await self._native(path, self.named, self._issuer.mint())

    async def _native(self, path: str, document: Any, token: str) -> Answer:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return await self._api.answer("POST", path, headers, json.dumps(document).encode())

    async def _garo(self, path: str, fields: Any) -> Answer:
        if path != "/start":
            fields = {key: value for key, value in fields.items() if key != "type"}
        body, token = json.dumps(fields).encode(), self._token or ""
        signature = hmac.digest(token.encode(), body, hashlib.sha512).hex()
        headers = {
            "content-type": "application/json",
            "x-github-token": token,
            "x-github-commitsha": "0123456789" * 4,
            "x-github-signature": signature,
        }
        return await self._api.answer("POST", path, headers, body)


async def run_cell(moto: str, row: Row, fault: str) -> Ended:
    """Run one cell."""
    with agent.make_folder("order-") as folder:
        async with open_order(moto, row, folder) as (stage, caller):
            proxy = stage.proxies[row.where]
            if row.play.startswith("stop"):
                await _start(stage, caller)
                await _wait_for(stage, caller, "online", "started")
            proxy.add(make_rule(row, fault))
            first = await (caller.ask("/stop") if row.play.startswith("stop") else caller.start())
            if fault in LASTING:
                proxy.clear()
            if not row.play.startswith("stop"):
                await _start(stage, caller)
                # Where no token could be written the task is stopped, and with it the order.
                ends = ENDS if row.cells[fault].event == "token.delayed" else ()
                await _wait_for(stage, caller, "online", "started", *ends)
            proxy.clear()
            assert (await caller.ask("/stop")).status == 200
            await _wait_for(stage, caller, *ENDS)
            return await look(stage, str(first.status))


async def _start(stage: Stage, caller: Caller) -> None:
    """Order until the order is taken."""
    answer = None
    try:
        async with asyncio.timeout(PATIENCE):
            while (answer := await caller.start()).status != 200:  # noqa: ASYNC110  as callers do
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise AssertionError(f"it is never taken, but {answer}: {_tell(stage)}") from None


async def _wait_for(stage: Stage, caller: Caller, *states: str) -> None:
    """Ask for the state until it is one of these."""
    document: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                document = (await caller.ask("/state")).document
                if document.get("state", document.get("runnerstate")) in states:
                    return
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        text = f"it is never {states}, but {document}: {_tell(stage)}"
        raise AssertionError(text) from None


def _tell(stage: Stage) -> str:
    return "\n".join(map(str, stage.log[-60:]))


@asynccontextmanager
async def open_order(moto: str, row: Row, folder: Path) -> AsyncIterator[tuple[Stage, Caller]]:
    """Open the services of a cell, an API and a caller of it."""
    play = row.play
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        issuer, roles = await enter(oidc.serving()), await enter(sts.serving())
        roles.add(ROLE, "an-external-id")
        stage = await enter(
            open_stage(
                moto,
                machines="machine" in play,
                oidc=issuer.url,
                sts=roles.url,
                dynamodb=await enter(table.serving()),
            )
        )
        issuer.url = stage.proxies["oidc"].url
        pools = folder / "pools.toml"
        text = POOLS.format(
            place=MACHINES if "machine" in play else TASKS,
            account=ACCOUNT if play == "order-account" else "",
            other=ACCOUNT,
            repository=REPOSITORY,
        )
        pools.write_text(text, encoding="utf-8")
        given = {
            "github_url": stage.proxies["github"].url,
            "cluster": None,
            "task_definition": None,
            "table": "launches",
            "pools": str(pools),
            "api_issuer": issuer.url,
        }
        settings, _ = load({}, stage.environment(**given), MODELS["api"])
        parts = await enter(open_api(settings, aws.REGION))  # type: ignore[arg-type]
        caller = Caller(parts.api, issuer, _make_token(stage, play))
        if row.where != "oidc":
            await caller.fetch_keys()
        yield stage, caller


def _make_token(stage: Stage, play: str) -> str | None:
    """Make the token of GitHub's by which a caller signs by GARO's contract."""
    if not play.startswith("order-garo"):
        return None
    world = stage.hub.world
    if play == "order-garo-personal":
        return world.mint("pat", None).value
    app = world.apps.add("actions", 1, 1)
    owner, _, name = REPOSITORY.partition("/")
    installed = world.apps.install(app, owner, repositories=(name,))
    token = world.mint("installation", None)
    token.installation_id = installed.id
    token.permissions = {"metadata": "read", "contents": "write"}
    return token.value
