"""A runner that is started by the API: token, API, ECS and a real agent that has a job."""

import asyncio
import hashlib
import hmac
import json
import time

import aiohttp

from local import oidc, sts
from local.github import payloads
from tests.launches.stage import REPOSITORY, open_stage

NUMBER = payloads.number_of(REPOSITORY)
POOLS = f"""
[[pool]]
name = "build"
labels = ["build"]
patterns = ["run-*"]
cluster = "runners"
task_definition = "runner:1"
capacities = ["FARGATE_SPOT", "FARGATE"]
subnets = ["subnet-01234567"]

[[caller]]
name = "octo"
repositories = [{NUMBER}]
events = ["push"]
pools = ["build"]
"""


async def ask(url, document, headers):
    """Ask the API; return status and document."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = {"content-type": "application/json", **headers}
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url, data=body, headers=given)
        return answer.status, await answer.json()


async def get_token(variables, audience="runner-launcher"):
    """Get a token as a job does."""
    url = f"{variables['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}"
    head = {"Authorization": f"bearer {variables['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=head) as found:
        return (await found.json())["value"]


def test_a_job_starts_a_runner_for_another_one_and_nothing_is_left(aws):
    """By GitHub's token alone: started once, online, busy with the job, done, nothing left."""

    async def run():
        async with open_stage(aws, queue=True) as stage, oidc.serving() as issuer:
            stage.pools.write_text(POOLS)
            # The worker hears of the task's end, and closes the launch.
            async with stage.worker(), stage.api(issuer.url) as (_, url):
                job = issuer.admit(repository=REPOSITORY, repository_id=NUMBER)
                claims = {"authorization": f"Bearer {await get_token(job)}"}
                wanted = {"labels": ["build", "run-7"]}
                forged = {"authorization": claims["authorization"][:-8] + "AAAAAAAA"}
                assert (await ask(f"{url}/start", wanted, forged))[0] == 401
                assert stage.ecs.tasks == []
                status, begun = await ask(f"{url}/start", wanted, claims)
                assert (status, begun["labels"]) == (200, ["build", "run-7"])
                assert await ask(f"{url}/start", wanted, claims) == (status, begun)
                served = stage.queue_job("build", "run-7")
                await stage.wait_for_job(served)
                await stage.check_nothing_left()
                _, found = await ask(f"{url}/state", {"id": begun["id"]}, claims)
                assert (found["state"], found["runner"]) == ("done", served.runner_name)
                assert len(stage.ecs.asked("RunTask", once=True)) == 1

    asyncio.run(asyncio.wait_for(run(), 150))


ROLE = "arn:aws:iam::210987654321:role/GitHubRunnerAssumeRole"
GARO = f"""
[[garo]]
name = "gov"
repositories = ["{REPOSITORY}"]
account = "210987654321"
role = "{ROLE}"
external_id = "an-external-id"
types = {{ spot = "build" }}
subnets = ["subnet-01234567"]
security_groups = ["sg-01234567"]
"""


def sign(token, **more):
    """Make a request of GARO's contract: body and headers."""
    fields = {
        "repo": REPOSITORY,
        "account_id": "210987654321",
        "external_id": "an-external-id",
        "time": int(time.time()),
        **more,
    }
    body = json.dumps(fields).encode()
    headers = {
        "x-github-token": token,
        "x-github-commitsha": "0123456789" * 4,
        "x-github-signature": hmac.digest(token.encode(), body, hashlib.sha512).hex(),
    }
    return body, headers


def install(world, contents):
    """Make a workflow's own token, which may read or write the repository; return it."""
    owner, _, name = REPOSITORY.partition("/")
    installation = world.apps.install(world.apps.add("actions", 1, 1), owner, repositories=(name,))
    token = world.mint("installation", None)
    token.installation_id = installation.id
    token.permissions = {"contents": contents}
    return token.value


def test_a_caller_of_garo_s_has_its_runner_in_its_own_account(aws):
    """Its token proves that it writes, its role is assumed without tags, a replay is nothing."""

    async def run():
        async with open_stage(aws, queue=True) as stage, sts.serving() as roles:
            roles.add(ROLE, "an-external-id", tags_allowed=False)
            stage.sts = roles.url
            stage.pools.write_text(POOLS + GARO)
            chosen = {"subnet": "subnet-01234567", "sg": "sg-01234567"}
            async with stage.worker(), stage.api("http://127.0.0.1:9") as (_, url):
                body, headers = sign(install(stage.github.world, "read"), **chosen)
                assert (await ask(f"{url}/start", body, headers))[0] == 403
                token = install(stage.github.world, "write")
                body, headers = sign(token, **chosen)
                status, begun = await ask(f"{url}/start", body, headers)
                assert (status, begun["runnerstate"]) == (200, "starting")
                assert await ask(f"{url}/start", body, headers) == (status, begun)
                body, headers = sign(token, name=begun["name"])
                _, found = await ask(f"{url}/state", body, headers)
                served = stage.queue_job(begun["uniqueid"])
                await stage.wait_for_job(served)
                await stage.ecs.wait_for(lambda: stage.ecs.living() == [], 60)
                # No event of that account comes here: whoever asks next closes the launch.
                assert (await ask(f"{url}/state", body, headers))[0] == 200
                await stage.check_nothing_left()
                (task,) = stage.ecs.tasks
                assert found["instanceid"] == task.facts.id
                (assumed,) = roles.assumed
                assert (assumed.role, assumed.tags) == (ROLE, {})
                assert len(stage.ecs.asked("RunTask", once=True)) == 1

    asyncio.run(asyncio.wait_for(run(), 150))
