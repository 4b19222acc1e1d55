"""The webhooks of the GitHub stand-in: signed, lost, held, sent again; and its job look-ups."""

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from local import github
from tests.judges.test_prism import sign_jwt

SECRET = "a webhook's secret"
HEADERS = {"Authorization": "Bearer ghp_local"}


class Receiver:
    """Takes deliveries, and answers what it is told to."""

    def __init__(self):
        self.url, self.status, self.got = "", 202, []
        self.changed = asyncio.Condition()

    async def take(self, request):
        """Keep a delivery."""
        async with self.changed:
            self.got.append((request.headers, await request.read()))
            self.changed.notify_all()
        return web.Response(status=self.status)

    async def wait_for(self, count):
        """Wait until there are so many; return their events and actions."""
        async with self.changed:
            there = self.changed.wait_for(lambda: len(self.got) >= count)
            await asyncio.wait_for(there, 60)
        return [json.loads(body).get("action") for _, body in self.got]


@asynccontextmanager
async def receiving():
    """Serve a receiver."""
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.take, access_log=None), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def play(scene):
    """Run a scene with a GitHub, its App's webhook, a receiver and a client."""

    async def run():
        async with (
            receiving() as receiver,
            github.serving() as hub,
            aiohttp.ClientSession() as client,
        ):
            wanted = {"installations": [{"account": "octo"}]}
            async with client.post(f"{hub.control}/apps", json=wanted) as answer:
                app = await answer.json()
            hook = {"url": receiver.url, "secret": SECRET, "app_id": app["app_id"]}
            async with client.post(f"{hub.control}/hooks", json=hook) as answer:
                assert answer.status == 201
            await receiver.wait_for(1)
            receiver.got.clear()
            await scene(hub, receiver, client, sign_jwt(app))

    asyncio.run(asyncio.wait_for(run(), 240))


def queue(hub, **more):
    """Queue a job of octo/demo."""
    wanted = {"repository": "octo/demo", "labels": ["self-hosted"], **more}
    return hub.world.jobs.add(wanted, hub.world.now())


def test_a_delivery_is_signed_over_the_bytes_that_are_sent():
    """With GitHub's headers; strangers' repositories are not told of."""

    async def scene(hub, receiver, client, jwt):
        queue(hub, repository="other/repo")
        job = queue(hub, name="bäh")
        assert await receiver.wait_for(1) == ["queued"]
        ((headers, body),) = receiver.got
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == f"sha256={signature}"
        assert headers["X-GitHub-Event"] == "workflow_job"
        assert headers["X-GitHub-Hook-Installation-Target-Type"] == "integration"
        assert json.loads(body)["workflow_job"]["id"] == job.id
        assert "bäh".encode() in body

    play(scene)


def test_a_suspended_installation_is_told_of_nothing():
    """What happened meanwhile is not told of later either."""

    async def scene(hub, receiver, client, jwt):
        (app,) = hub.world.apps
        app.installations[0].suspended_at = 1.0
        queue(hub, name="meanwhile")
        app.installations[0].suspended_at = None
        queue(hub, name="later")
        await receiver.wait_for(1)
        assert [json.loads(body)["workflow_job"]["name"] for _, body in receiver.got] == ["later"]

    play(scene)


def test_a_job_is_told_from_its_queue_to_its_end():
    """A job with an environment waits first; cancelled it is told of as well."""

    async def scene(hub, receiver, client, jwt):
        job = queue(hub, environment="production")
        assert sorted(await receiver.wait_for(2)) == ["queued", "waiting"]
        hub.world.approve(job)
        assert (await receiver.wait_for(3))[-1] == "queued"
        assert hub.world.cancel(job)
        assert (await receiver.wait_for(4))[-1] == "completed"
        ended = json.loads(receiver.got[-1][1])["workflow_job"]
        assert (ended["conclusion"], ended["runner_id"]) == ("cancelled", None)

    play(scene)


def test_a_lost_delivery_is_listed_and_sent_again_under_its_guid():
    """Never by itself; its id is another one then."""

    async def scene(hub, receiver, client, jwt):
        hub.world.hooks.disturb("lose", "queued")
        queue(hub)
        own = {"Authorization": f"Bearer {jwt}"}
        url = f"{hub.api}/app/hook/deliveries"
        async with client.get(url, headers=own, params={"status": "failure"}) as answer:
            (lost,) = await answer.json()
        assert (lost["status_code"], lost["action"], lost["redelivery"]) == (502, "queued", False)
        async with client.post(f"{url}/{lost['id']}/attempts", headers=own) as answer:
            assert answer.status == 202
        assert await receiver.wait_for(1) == ["queued"]
        assert receiver.got[0][0]["X-GitHub-Delivery"] == lost["guid"]
        async with client.get(url, headers=own, params={"per_page": "1"}) as answer:
            (again,) = await answer.json()
            assert 'rel="next"' in answer.headers["Link"]
        assert (again["guid"], again["redelivery"]) == (lost["guid"], True)
        assert again["id"] != lost["id"]

    play(scene)


def test_deliveries_come_twice_late_and_out_of_order():
    """Each on order, and only as often as was ordered."""

    async def scene(hub, receiver, client, jwt):
        hub.world.hooks.disturb("hold", "queued")
        hub.world.hooks.disturb("twice", "completed")
        job = queue(hub)
        hub.world.cancel(job)
        assert await receiver.wait_for(2) == ["completed", "completed"]
        assert len({headers["X-GitHub-Delivery"] for headers, _ in receiver.got}) == 1
        assert hub.world.hooks.release() == 1
        assert (await receiver.wait_for(3))[-1] == "queued"
        queue(hub)
        assert (await receiver.wait_for(4))[-1] == "queued"

    play(scene)


def test_a_receiver_that_fails_is_noted_and_not_asked_again():
    """As GitHub does it."""

    async def scene(hub, receiver, client, jwt):
        receiver.status = 503
        queue(hub)
        await receiver.wait_for(1)
        delivery = hub.world.hooks.deliveries[-1]
        await hub.world.changes.until(lambda: delivery.status != "pending" or None, 20)
        assert (delivery.status, delivery.status_code) == ("Invalid HTTP Response: 503", 503)
        assert len(receiver.got) == 1

    play(scene)


def test_jobs_and_runs_are_looked_up():
    """With event, head repository and the headers of the rate limit."""

    async def scene(hub, receiver, client, jwt):
        job = queue(hub, event="pull_request", head_repository="eve/demo", pull_request=3)
        base = f"{hub.api}/repos/octo/demo/actions"
        async with client.get(f"{base}/jobs/{job.id}", headers=HEADERS) as answer:
            shown = await answer.json()
            assert int(answer.headers["x-ratelimit-remaining"]) == 4999
        assert (shown["status"], shown["run_id"]) == ("queued", job.run.id)
        async with client.get(f"{base}/runs/{job.run.id}", headers=HEADERS) as answer:
            run = await answer.json()
        assert (run["event"], run["head_repository"]["full_name"]) == ("pull_request", "eve/demo")
        assert run["pull_requests"] == []  # GitHub tells none of a fork's
        other = f"{hub.api}/repos/octo/other/actions/jobs/{job.id}"
        async with client.get(other, headers=HEADERS) as answer:
            assert answer.status == 404

    play(scene)


def test_a_run_again_has_new_jobs_and_the_next_attempt():
    """Of all jobs, or of those that failed."""

    async def scene(hub, receiver, client, jwt):
        good, bad = queue(hub), None
        bad = queue(hub, run_id=good.run.id)
        hub.world.complete(good, "succeeded")
        hub.world.complete(bad, "failed")
        url = f"{hub.api}/repos/octo/demo/actions/runs/{good.run.id}"
        async with client.post(f"{url}/rerun-failed-jobs", headers=HEADERS) as answer:
            assert answer.status == 201
        async with client.get(f"{url}/jobs", headers=HEADERS) as answer:
            (again,) = (await answer.json())["jobs"]
        assert again["run_id"] == good.run.id
        assert again["run_attempt"] == 2
        assert again["id"] not in (good.id, bad.id)

    play(scene)
