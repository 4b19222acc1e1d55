"""Prism checks the answers of the GitHub stand-in against GitHub's own API description."""

import asyncio
import base64
import json
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from local import faults, github
from tests.judges.contract import cut

PRISM = Path(__file__).parent / "node_modules" / ".bin" / "prism"
REPOSITORY = "/repos/{owner}/{repo}"
SCOPES = (REPOSITORY, "/orgs/{org}", "/enterprises/{enterprise}")
NAMES = {"owner": "octo", "repo": "demo", "org": "octo", "enterprise": "big"}

pytestmark = pytest.mark.node


def run(coroutine):
    """Run the coroutine of a test, for 90 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 90))


@asynccontextmanager
async def prism(spec, upstream, folder):
    """Run Prism as a proxy of `upstream`; it reports every violation of the description."""
    written = folder / "github.json"
    written.write_text(json.dumps(spec))
    child = await asyncio.create_subprocess_exec(
        *(PRISM, "proxy", "--errors", "--port", "0", written, upstream),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = b""
        while not (found := re.search(rb"listening on (http://\S+?)\x1b?\s", output)):
            line = await child.stdout.readline()
            assert line, output.decode()
            output += line
        rest = asyncio.create_task(child.stdout.read())
        yield found[1].decode()
    finally:
        child.kill()
        await child.wait()
    await rest


class Judge:
    """Makes calls through Prism, and records them and their violations."""

    def __init__(self, client):
        self.client = client
        self.made = set()
        self.complaints = []

    async def call(self, method, template, status, body=None, *, bearer="ghp_local", **names):
        """Make one call that must be answered with `status`; return the body of the answer."""
        headers = {"Authorization": f"Bearer {bearer}"}
        path = template.format(**NAMES, **names)
        async with self.client.request(method, path, json=body, headers=headers) as reply:
            text = await reply.text()
            violations = reply.headers.get("sl-violations")
            if violations or "problem+json" in reply.content_type or reply.status != status:
                self.complaints.append((method, path, reply.status, violations, text[:1000]))
            self.made.add((method.lower(), template.partition("?")[0], str(reply.status)))
            return json.loads(text) if text else None


async def runners(judge, world, scope):
    """Make every call about the runners of one scope."""
    base = scope + "/actions/runners"
    one = base + "/{runner_id}"
    await judge.call("POST", base + "/registration-token", 201)
    await judge.call("POST", base + "/remove-token", 201)
    wanted = {"name": "first", "runner_group_id": 1, "labels": ["self-hosted", "small"]}
    created = await judge.call("POST", base + "/generate-jitconfig", 201, wanted)
    await judge.call("POST", base + "/generate-jitconfig", 409, wanted)
    await judge.call("POST", base + "/generate-jitconfig", 404, {**wanted, "runner_group_id": 9})
    await judge.call("POST", base + "/generate-jitconfig", 422, {**wanted, "name": ""})
    runner_id = created["runner"]["id"]
    listed = await judge.call("GET", base + "?name=first&per_page=1&page=1", 200)
    assert listed["total_count"] == 1
    await judge.call("GET", one, 200, runner_id=runner_id)
    world.runners.get(runner_id).job_id = 1
    await judge.call("GET", one, 200, runner_id=runner_id)
    await judge.call("DELETE", one, 422, runner_id=runner_id)
    world.runners.get(runner_id).job_id = 0
    await judge.call("DELETE", one, 204, runner_id=runner_id)
    assert (await judge.call("GET", base, 200))["total_count"] == 0


def sign_jwt(app):
    """Return the JWT that identifies the App."""

    def part(content):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + 540, "iss": app["client_id"]}
    text = part({"alg": "RS256", "typ": "JWT"}) + b"." + part(claims)
    key = serialization.load_pem_private_key(app["private_key"].encode(), None)
    return (text + b"." + part(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()


async def apps(judge, stand_in):
    """Make every call of a GitHub App, and get every documented refusal."""
    async with judge.client.post(
        f"{stand_in.control}/apps", json={"installations": [{"account": "octo"}]}
    ) as reply:
        app = await reply.json()
    jwt = sign_jwt(app)
    await judge.call("GET", "/orgs/{org}/installation", 200, bearer=jwt)
    await judge.call("GET", REPOSITORY + "/installation", 200, bearer=jwt)
    await judge.call("GET", "/app", 200, bearer=jwt)
    await judge.call("GET", "/app/installations", 200, bearer=jwt)
    tokens = "/app/installations/{installation_id}/access_tokens"
    its = {"installation_id": app["installation_ids"][0], "bearer": jwt}
    await judge.call("POST", tokens, 201, **its)
    await judge.call("POST", tokens, 201, {"permissions": {"administration": "write"}}, **its)
    await judge.call("POST", tokens, 401, **{**its, "bearer": "no.jwt.atall"})
    await judge.call("POST", tokens, 404, **{**its, "installation_id": 1})
    await judge.call("POST", tokens, 422, {"permissions": {"pages": "write"}}, **its)
    stand_in.world.settings.rate_remaining = 0
    await judge.call("POST", tokens, 403, **its)
    stand_in.world.settings.rate_remaining = 5000
    stranger = {"installations": [{"account": "nobody"}]}
    async with judge.client.post(f"{stand_in.control}/apps", json=stranger) as reply:
        await judge.call(
            "GET", REPOSITORY + "/installation", 404, bearer=sign_jwt(await reply.json())
        )


async def runs(judge, stand_in):
    """Cancel a run that can be cancelled, and one that has ended."""
    async with judge.client.post(f"{stand_in.control}/jobs", json={"steps": []}) as reply:
        run_id = (await reply.json())["run_id"]
    run = REPOSITORY + "/actions/runs/{run_id}"
    await judge.call("GET", run, 200, run_id=run_id)
    await judge.call("GET", REPOSITORY + "/actions/runs", 200)
    await judge.call("POST", run + "/cancel", 202, run_id=run_id)
    await judge.call("POST", run + "/cancel", 409, run_id=run_id)
    await judge.call("GET", run, 200, run_id=run_id)
    (job,) = (await judge.call("GET", run + "/jobs", 200, run_id=run_id))["jobs"]
    one = REPOSITORY + "/actions/jobs/{job_id}"
    await judge.call("GET", one, 200, job_id=job["id"])
    await judge.call("POST", one + "/rerun", 201, job_id=job["id"])
    await judge.call("POST", one + "/rerun", 403, job_id=job["id"])
    for call in ("/rerun", "/rerun-failed-jobs"):
        stand_in.world.cancel(list(stand_in.world.jobs)[-1])
        await judge.call("POST", run + call, 201, run_id=run_id)


async def deliveries(judge, stand_in):
    """List the deliveries of an App's webhook, look at one, send one again."""
    async with judge.client.post(
        f"{stand_in.control}/apps", json={"installations": [{"account": "octo"}]}
    ) as reply:
        app = await reply.json()
    hook = {"url": "http://127.0.0.1:9/", "secret": "of a hook", "app_id": app["app_id"]}
    async with judge.client.post(f"{stand_in.control}/hooks", json=hook) as reply:
        assert reply.status == 201
    wanted = {"steps": [], "repository": "octo/demo"}
    async with judge.client.post(f"{stand_in.control}/jobs", json=wanted):
        pass
    jwt, base = sign_jwt(app), "/app/hook/deliveries"
    await judge.call("GET", "/app/hook/config", 200, bearer=jwt)
    listed = await judge.call("GET", base, 200, bearer=jwt)
    one = {"delivery_id": listed[0]["id"], "bearer": jwt}
    await judge.call("GET", base + "/{delivery_id}", 200, **one)
    await judge.call("POST", base + "/{delivery_id}/attempts", 202, **one)
    for path, scope in (("/orgs/{org}", "/orgs/octo"), (REPOSITORY, "/repos/octo/demo")):
        await scope_deliveries(judge, stand_in, path, scope)


async def scope_deliveries(judge, stand_in, path, scope):
    """Do the same with the webhook of an organization or a repository."""
    hook = {"url": "http://127.0.0.1:9/", "secret": "of a hook", "scope": scope}
    async with judge.client.post(f"{stand_in.control}/hooks", json=hook) as reply:
        assert reply.status == 201
    (found,) = await judge.call("GET", f"{path}/hooks", 200)
    base, its = path + "/hooks/{hook_id}/deliveries", {"hook_id": found["id"]}
    listed = await judge.call("GET", base, 200, **its)
    its["delivery_id"] = listed[0]["id"]
    await judge.call("GET", base + "/{delivery_id}", 200, **its)
    await judge.call("POST", base + "/{delivery_id}/attempts", 202, **its)


def documented(spec):
    """Return each method, path and status in the description."""
    methods = ("get", "post", "put", "patch", "delete")
    return {
        (method, path, status)
        for path, item in spec["paths"].items()
        for method in methods
        for status in item.get(method, {}).get("responses", {})
    }


@pytest.mark.parametrize(
    ("edition", "base", "offset"), [("ghec", "", 0), ("ghes-3.19", "/api/v3", -480)]
)
def test_the_stand_in_answers_as_github_documents(tmp_path, edition, base, offset):
    """Every documented call and refusal has the documented form."""
    spec = cut(edition)

    async def life():
        settings = github.Settings(utc_offset_minutes=offset)
        async with (
            github.serving(settings=settings) as stand_in,
            prism(spec, stand_in.url + base, tmp_path) as url,
            aiohttp.ClientSession(url) as client,
        ):
            judge = Judge(client)
            for scope in SCOPES:
                await runners(judge, stand_in.world, scope)
            await apps(judge, stand_in)
            await runs(judge, stand_in)
            await deliveries(judge, stand_in)
        return judge

    judge = run(life())
    assert judge.complaints == []
    # The stand-in has no repositories that were moved (301), and forgets no run.
    moved = {
        ("get", REPOSITORY + "/installation", "301"),
        ("delete", REPOSITORY + "/actions/runs/{run_id}", "204"),
    }
    # Nor does it refuse a request as malformed (400, 422 of deliveries).
    malformed = {each for each in documented(spec) if "/hook" in each[1] and each[2] >= "400"}
    # Whoever tests has webhooks made by the control plane, and an App's is as it was made.
    made = {each for each in documented(spec) if each[:2] in {("post", path) for path in MAKES}}
    made.add(("patch", "/app/hook/config", "200"))
    assert documented(spec) - moved - malformed - made <= judge.made


MAKES = (REPOSITORY + "/hooks", "/orgs/{org}/hooks")


TOKEN = '{"token": "A", "expires_at": "2026-01-22T12:13:35.123-08:00"}'


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (faults.Rule("status", status=201, body='{"token": "A"}'), "expires_at"),
        (faults.Rule("status", status=201, body=TOKEN.replace('"A"', "5")), "token must be string"),
        (faults.Rule("status", status=201, body=TOKEN.replace("T12", " at 12")), "date-time"),
        (faults.Rule("status", status=200, body=TOKEN), "status code"),
        (faults.Rule("not-json"), "status code"),
    ],
)
def test_prism_reports_a_wrong_answer(tmp_path, rule, complaint):
    """So the test above passes because the answers are right."""

    async def life():
        async with (
            github.serving() as stand_in,
            faults.serving(stand_in.url, rules=[rule]) as proxy,
            prism(cut("ghec"), proxy.url, tmp_path) as url,
            aiohttp.ClientSession(url) as client,
        ):
            judge = Judge(client)
            path = "/orgs/{org}/actions/runners/registration-token"
            await judge.call("POST", path, rule.status)
        return judge.complaints

    ((*_, violations, _text),) = run(life())
    assert complaint in violations


def test_prism_refuses_a_wrong_request(tmp_path):
    """It does not reach the stand-in."""

    async def life():
        async with (
            github.serving() as stand_in,
            prism(cut("ghec"), stand_in.url, tmp_path) as url,
            aiohttp.ClientSession(url) as client,
        ):
            judge = Judge(client)
            path = "/orgs/{org}/actions/runners/generate-jitconfig"
            await judge.call("POST", path, 201, {"name": "n", "runner_group_id": 1, "labels": []})
            assert list(stand_in.world.runners) == []
        return judge.complaints

    ((*_, text),) = run(life())
    assert "must NOT have fewer than 1 items" in text
