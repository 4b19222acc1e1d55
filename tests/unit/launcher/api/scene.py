"""An API among small fakes of ECS, SSM and GitHub, with an issuer of real tokens."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from dataclasses import replace

from launcher.api.accounts import Accounts
from launcher.api.answers import Refused
from launcher.api.api import Api
from launcher.api.keys import Keys
from launcher.api.oidc import TokenVerifier
from launcher.api.orders import Orders
from local.oidc import Issuer
from tests.unit.launcher.work.scene import open_scene

ISSUER = "https://token.actions.githubusercontent.com"
AUDIENCE = "runner-launcher"
TOKEN = "ghs_0123456789abcdefghij"
COMMIT = "0123456789" * 4
ACCOUNT = "210987654321"
POOLS = """
[[pool]]
name = "small"
labels = ["small"]
patterns = ["run-*"]
task_definition = "runner"
cluster = "runners"
launch_type = "FARGATE"
subnets = ["subnet-0a1b2c3d"]
maximum = 30

[[pool]]
name = "large"
labels = ["large"]
task_definition = "runner"
cluster = "runners"
launch_type = "FARGATE"
subnets = ["subnet-0a1b2c3d"]

[[caller]]
name = "octo"
repositories = [7]
events = ["push", "workflow_dispatch"]
refs = ["refs/heads/main", "refs/tags/v*"]
pools = ["small"]
maximum = 2
subnets = ["subnet-11111111"]
security_groups = ["sg-11111111"]
roles = ["arn:aws:iam::123456789012:role/listed"]
"""
GARO = f"""
[[garo]]
name = "alphagov"
repositories = ["octo/app"]
account = "{ACCOUNT}"
role = "arn:aws:iam::{ACCOUNT}:role/GitHubRunnerAssumeRole"
external_id = "an-external-id"
region = "eu-west-2"
types = {{ spot = "small", ondemand = "small" }}
subnets = ["subnet-11111111"]
security_groups = ["sg-11111111"]
"""


class Proved:
    """GitHub's word about tokens, from a table; every question is noted."""

    def __init__(self):
        self.writable = {(TOKEN, "octo/app"): 7}
        self.asked = []

    async def find_writable(self, token, repository):
        """Return the repository's number, or refuse."""
        self.asked.append(repository)
        if (token, repository) not in self.writable:
            raise Refused(403, "the token may not write to the repository")
        return self.writable[token, repository]


class Here(Accounts):
    """Accounts whose tasks are all at the one fake of ECS; who is asked for is noted."""

    def __init__(self, around):
        super().__init__(around, None)
        self.opened = []
        self.error = None
        """Raised instead, as where a role was removed."""

    @asynccontextmanager
    async def open(self, guest):
        """Return the resources of the scene."""
        self.opened.append(guest)
        if self.error is not None:
            raise self.error
        yield replace(self._around, account=guest.account.number)


class ApiScene:
    """An API, what surrounds it, and its callers."""

    def __init__(self, pools, ec2=None):
        self.work = open_scene(pools)
        self.work.ec2 = ec2
        self.issuer = Issuer(ISSUER, self.work.now)
        self.proof = Proved()
        around = self.work.make_resources()
        self.accounts = Here(around)
        self.orders = Orders(around, self.accounts)

        async def fetch():
            return self.issuer.list_keys()

        self.keys = Keys(fetch, self.work.now)
        verifier = TokenVerifier(ISSUER, AUDIENCE, self.keys, self.work.now)
        self.api = Api(around, verifier, self.proof, self.orders)

    @property
    def started(self):
        """Return the requests to start a task."""
        return self.work.tasks.sent

    async def ask(self, path, document, token=None, method="POST", **headers):
        """Ask as a job of octo/app on its main branch does; return status and document."""
        token = self.mint() if token is None else token
        given = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        answer = await self.api.answer(method, path, given, body)
        return answer.status, dict(answer.document)

    def mint(self, **claims):
        """Make a token of a job of octo/app."""
        return self.issuer.mint(AUDIENCE, **{"repository": "octo/app", **claims})

    async def start(self, token=None, **fields):
        """Start a runner."""
        return await self.ask("/start", {"labels": ["small", "run-1"], **fields}, token)

    def fields(self, **more):
        """Return the fields of a start by GARO's contract."""
        known = {
            "repo": "octo/app",
            "account_id": ACCOUNT,
            "external_id": "an-external-id",
            "time": int(self.work.now()),
            "sg": "sg-11111111",
            "subnet": "subnet-11111111",
        }
        return {key: it for key, it in {**known, **more}.items() if it is not None}

    async def garo(self, path="/start", *, body=None, token=TOKEN, headers=None, **more):
        """Ask by GARO's contract; return status and document."""
        if body is None:
            body = json.dumps(self.fields(**more)).encode()
        given = {**sign(body, token), **(headers or {})}
        answer = await self.api.answer("POST", path, given, body)
        return answer.status, dict(answer.document)


def sign(body, token=TOKEN):
    """Return the headers by which GARO's callers sign a body."""
    return {
        "x-github-token": token,
        "x-github-commitsha": COMMIT,
        "x-github-signature": hmac.digest(token.encode(), body, hashlib.sha512).hex(),
    }


def play(story, pools=POOLS + GARO, seconds=60):
    """Run a story, for so many seconds at most."""

    async def run():
        return await story(ApiScene(pools))

    return asyncio.run(asyncio.wait_for(run(), seconds))
