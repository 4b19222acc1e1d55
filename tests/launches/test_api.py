"""A runner that is started by the API: token, API, ECS and a real agent that has a job."""

import asyncio
import json

import aiohttp

from local import oidc
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
                assert len(stage.ecs.asked("RunTask")) == 1

    asyncio.run(asyncio.wait_for(run(), 150))
