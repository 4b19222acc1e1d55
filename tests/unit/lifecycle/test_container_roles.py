"""Each container has the role of its rule, or none, whichever way it asks."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest

from local import sts
from sidecar.docker.connection import RequestRefused
from sidecar.lifecycle import container_roles
from sidecar.lifecycle.container_roles import ContainerRoles
from sidecar.lifecycle.job_credentials import JobCredentials
from sidecar.lifecycle.job_roles import JobRoles
from sidecar.net.http_server import Request
from sidecar.relay import Imds, server
from sidecar.relay.assigned_role import AssignedRole
from sidecar.relay.protocol import hold_for_admission
from sidecar.roles.containers import SERVICE_LABEL, Container
from sidecar.roles.document import parse_roles
from tests.unit.lifecycle.test_job_roles import JOB

ROLES = {name: f"arn:aws:iam::123456789012:role/{name}" for name in ("job", "db", "web", "other")}
RULES = f"""
[[job]]
name = "main"
role = "{ROLES["job"]}"
container_roles = ["{ROLES["db"]}", "{ROLES["web"]}"]

[[job]]
ref = "refs/heads/other"
role = "{ROLES["job"]}"
container_roles = "{ROLES["other"]}"

[[container]]
name = "nothing"
image = "redis*"
role = "none"

[[container]]
name = "db"
label = "tier=db"
role = "{ROLES["db"]}"

[[container]]
name = "web"
service = "web"
role = "{ROLES["web"]}"

[[container]]
name = "less"
label = "less"
role = "job"
policy = '{{"Statement": []}}'

[[container]]
name = "foreign"
label = "foreign"
role = "{ROLES["other"]}"

[[container]]
name = "plain"
label = "plain"
role = "job"
"""
NOTHING, DB, WEB = Container("redis:7"), Container(labels={"tier": "db"}), None
WEB = Container(labels={SERVICE_LABEL: "web"})
STEP, FIRST, SECOND, STRANGER = "127.0.0.1", "172.17.0.2", "172.17.0.3", "172.17.0.9"
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"


class Scene:
    """A relay with rules, whose requests are judged without a network."""

    containers = roles = None

    def __init__(self, relay, router, asked):
        self.relay, self.router, self.sts = relay, router, asked
        self.changed = asyncio.Event()
        """Set after each fetch."""

    def follow_fetches(self):
        """Have `changed` set after each fetch of each role."""
        refresher = self.relay._refresher
        answer_waiting = refresher.on_change

        def on_change():
            answer_waiting()
            self.changed.set()

        refresher.on_change = on_change

    def judge(self, path, peer, method="GET", host="169.254.170.2", **headers):
        """Return the answer to one request."""
        return self.router.answer(Request(method, path, {"host": host, **headers}, peer))

    async def ask(self, path, peer, **more):
        """Return the role that a peer gets by a path, or the status, once it is decided."""
        async with asyncio.timeout(60):
            while (answer := self.judge(path, peer, **more)).status == 503:
                self.changed.clear()
                await self.changed.wait()
        return name_role(answer)

    async def ask_by_address(self, peer):
        """Return the role that a peer gets from the instance metadata."""
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        imds = {"host": "169.254.169.254"}
        token = self.judge("/latest/api/token", peer, "PUT", **imds, **ttl).body.decode()
        given = {**imds, "x-aws-ec2-metadata-token": token}
        async with asyncio.timeout(60):
            while (answer := self.judge(ROLE_PATH, peer, **given)).status == 503:
                self.changed.clear()
                await self.changed.wait()
        return answer.body.decode() if answer.status == 200 else answer.status

    def create(self, container, identity, *addresses):
        """Create a container; return its path."""
        path = self.containers.mint(container)
        self.relay.identities.assign(path, identity, addresses)
        return path


def name_role(answer):
    """Return the role in an answer; its status if there is none."""
    if answer.status != 200:
        return answer.status
    return json.loads(answer.body)["RoleArn"].rpartition("/")[2]


@asynccontextmanager
async def open_scene(monkeypatch, rules=RULES, identity=JOB):
    """Open a relay whose job is known, beside an STS that knows all roles."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    routers = []
    make = server._make_router
    monkeypatch.setattr(server, "_make_router", lambda *a: routers.append(make(*a)) or routers[0])
    monkeypatch.setattr(container_roles, "is_task_s_own", lambda peer: peer == STEP)
    async with sts.serving() as asked, AsyncExitStack() as running:
        for arn in ROLES.values():
            asked.add(arn)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", asked.url)
        assigned = AssignedRole()
        imds = Imds("eu-central-1")
        relay = await running.enter_async_context(
            server.serving(assigned, "127.0.0.1", 0, imds=imds)
        )
        scene = Scene(relay, routers[0], asked)
        scene.follow_fetches()
        credentials = JobCredentials(relay=relay, assigned=assigned)
        access = SimpleNamespace(endpoint=None, agent_credentials=None)
        roles = JobRoles(parse_roles(rules), access, credentials, "eu-central-1")
        await roles.start_containers(running)
        relay.identities.hold(hold_for_admission())
        if identity is not None:
            deadline = asyncio.get_running_loop().time() + 60
            await roles.assign(identity, {}, deadline)
            credentials.release()
        scene.containers, scene.roles = credentials.containers, roles
        yield scene


def play(monkeypatch, work, **options):
    """Play one scene."""

    async def run():
        async with open_scene(monkeypatch, **options) as scene:
            assert isinstance(scene.containers, ContainerRoles)
            await work(scene)

    asyncio.run(run())


def test_four_services_have_four_roles(monkeypatch):
    """By their own paths and by their addresses; the job's steps have the job's."""

    async def work(scene):
        wanted = {
            "job": (STEP, scene.relay.relative_uri),
            "db": (FIRST, scene.create(DB, "c1", FIRST)),
            "web": (SECOND, scene.create(WEB, "c2", SECOND)),
        }
        nothing = scene.create(NOTHING, "c3", "172.17.0.4")
        plain = scene.create(Container(labels={"plain": ""}), "c4", "172.17.0.5")
        unnamed = scene.create(Container("app"), "c5", "172.17.0.6")
        for role, (peer, path) in wanted.items():
            assert await scene.ask(path, peer) == role
            assert await scene.ask_by_address(peer) == role
        assert await scene.ask(nothing, "172.17.0.4") == 403
        assert await scene.ask_by_address("172.17.0.4") == 403
        assert await scene.ask(plain, "172.17.0.5") == "job"
        assert await scene.ask(unnamed, "172.17.0.6") == "job"
        assert {one.role.rpartition("/")[2] for one in scene.sts.assumed} == {"job", "db", "web"}

    play(monkeypatch, work)


def test_a_container_that_was_given_the_job_s_path_is_still_itself(monkeypatch):
    """`docker run -e` with the variables of the step changes nothing."""

    async def work(scene):
        scene.create(NOTHING, "c1", FIRST)
        scene.create(DB, "c2", SECOND)
        common = scene.relay.relative_uri
        assert await scene.ask(common, STEP) == "job"
        assert await scene.ask(common, FIRST) == 403
        assert await scene.ask(common, SECOND) == "db"

    play(monkeypatch, work)


def test_an_address_that_no_container_is_known_by_gets_nothing(monkeypatch):
    """It may be a container that was told "none" a moment ago; without rules it has the job's."""

    async def work(scene):
        path = scene.create(NOTHING, "c1")
        for peer in (FIRST, STRANGER):
            assert await scene.ask(scene.relay.relative_uri, peer) == 403
            assert await scene.ask_by_address(peer) == 403
        assert await scene.ask(path, FIRST) == 403

    play(monkeypatch, work)


def test_a_role_is_assumed_when_its_first_container_is_created(monkeypatch):
    """No role is asked for in vain; its policy and the job's tags go with it."""

    async def work(scene):
        assert [one.role for one in scene.sts.assumed] == [ROLES["job"]]
        path = scene.create(Container(labels={"less": ""}), "c1", FIRST)
        assert await scene.ask(path, FIRST) == "job"
        (_, limited) = scene.sts.assumed
        assert (limited.role, limited.policy) == (ROLES["job"], '{"Statement":[]}')
        assert limited.tags["ref"] == "refs/heads/main"

    play(monkeypatch, work)


def test_a_rule_gives_only_what_the_job_s_own_rule_lists(monkeypatch):
    """Another job may; this one's container has nothing."""

    async def work(scene):
        path = scene.create(Container(labels={"foreign": ""}), "c1", FIRST)
        answer = scene.judge(path, FIRST)
        assert answer.status == 403
        assert "names a role that the rule of the job does not list" in answer.body.decode()

    play(monkeypatch, work)


def test_before_a_job_has_a_role_no_container_has_one(monkeypatch):
    """Nor afterwards, if the container was made before."""

    async def work(scene):
        path = scene.create(DB, "c1", FIRST)
        assert scene.judge(path, FIRST).status == 503
        assert scene.judge(scene.relay.relative_uri, STEP).status == 503
        scene.relay.identities.release()
        assert await scene.ask(path, FIRST) == 403
        assert scene.sts.asked == 0

    play(monkeypatch, work, identity=None)


@pytest.mark.parametrize("container", [NOTHING, DB])
def test_a_container_with_its_own_rule_needs_its_own_network(monkeypatch, container):
    """In the host's network its requests would look like the job's."""

    async def work(scene):
        shared = Container(container.image, container.labels, shares_network=True)
        with pytest.raises(RequestRefused) as refused:
            scene.containers.mint(shared)
        assert refused.value.status == 403
        assert scene.containers.mint(Container("app", shares_network=True))

    play(monkeypatch, work)


def test_rules_for_containers_change_nothing_without_them(monkeypatch):
    """Builds and nested containers then have the job's role by their address."""

    async def run():
        rules = f'[[job]]\nrole = "{ROLES["job"]}"'
        async with open_scene(monkeypatch, rules) as scene:
            assert scene.containers is None
            assert await scene.ask_by_address(STRANGER) == "job"

    asyncio.run(run())
