"""Random lives of a job and its containers, compared with a model of who may have which role.

20,000 sequences of hooks, creates, starts, connects, stops and requests. Requests come from the
job's steps, from containers and from addresses that nobody knows, by every way there is.
"""

import asyncio
import json
import random
from functools import cache
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.aws.container_credentials import Credentials
from sidecar.docker.connection import RequestRefused
from sidecar.errors import RelayError
from sidecar.lifecycle import container_roles
from sidecar.lifecycle.container_roles import ContainerRoles
from sidecar.lifecycle.job_credentials import JobCredentials
from sidecar.lifecycle.job_roles import JobRoles
from sidecar.relay.assigned_role import AssignedRole
from sidecar.relay.identities import Identities
from sidecar.relay.protocol import hold_for_admission
from sidecar.roles.containers import Container
from sidecar.roles.document import parse_roles
from sidecar.runner.job_identity import JobIdentity
from tests.support.upstream import RelayCore

SEQUENCES, STEPS = 20_000, 14
AS_JOB = "as its job"
STEP, STRANGER = "127.0.0.1", "172.17.0.99"
ADDRESSES = [f"172.17.0.{number}" for number in range(2, 6)]
ROLES = "job", "db", "other", "fork", "task"
ARNS = {name: f"arn:aws:iam::123456789012:role/{name}" for name in ROLES}
JOBS = f"""
[[job]]
name = "main"
repository = "octo/app"
ref = "refs/heads/main"
role = "{ARNS["job"]}"
container_roles = "{ARNS["db"]}"
[[job]]
name = "other"
repository = "octo/other"
role = "{ARNS["other"]}"
[[job]]
name = "fork"
repository = "octo/app"
event = "pull_request"
fork = true
role = "{ARNS["fork"]}"
"""
CONTAINERS = f"""
[[container]]
name = "nothing"
label = "nothing"
role = "none"
[[container]]
name = "db"
label = "db"
role = "{ARNS["db"]}"
[[container]]
name = "less"
label = "less"
role = "job"
policy = '{{"Statement": []}}'
"""
TASK = '[default]\nrole = "task"\n'
JOB = JobIdentity(repository="octo/app", event="push", ref="refs/heads/main", from_fork=False)
IDENTITIES = {
    "job": JOB,
    "other": JobIdentity(
        repository="octo/other", event="push", ref="refs/heads/main", from_fork=False
    ),
    "fork": JobIdentity(
        repository="octo/app", event="pull_request", ref="refs/pull/1/merge", from_fork=True
    ),
    None: JobIdentity(
        repository="octo/app", event="pull_request_target", ref="refs/heads/main", from_fork=True
    ),
    "default": JobIdentity(
        repository="octo/app", event="push", ref="refs/heads/dev", from_fork=False
    ),
}
"""By the rule that each has; "default" has the task's role where [default] says so."""


@cache
def read_rules(has_containers, has_default):
    """Return the rules, with or without those for containers and the default."""
    return parse_roles(
        JOBS + (CONTAINERS if has_containers else "") + (TASK if has_default else "")
    )


class Refresher:
    """The credentials of whatever role its source was assigned."""

    def __init__(self, source):
        self.source = source
        self.fetching = False
        self._held = None

    @property
    def newest(self):
        """Return credentials that say which role they are of."""
        assigned = self.source._source
        if assigned is not None and self._held is None:
            role = getattr(assigned, "name", None) or assigned._request.role
            body = json.dumps(
                {"RoleArn": role, "AccessKeyId": "A", "SecretAccessKey": "S"}
                | {"Token": "T", "Expiration": "2030-01-01T00:00:00Z"}
            )
            self._held = Credentials("A", 1e12, role, body.encode())
        return self._held

    def current(self):
        """Return them."""
        return self.newest


class Life:
    """One job with its containers, and the model beside it."""

    def __init__(self, chance):
        self.chance = chance
        self.has_containers, self.has_default = chance.random() < 0.8, chance.random() < 0.3
        self.core = RelayCore()
        assigned = AssignedRole()
        self.core.refresher = Refresher(assigned)
        identities = self.core.identities
        identities._refresher = identities.default.refresher = self.core.refresher
        identities._stranger.refresher = self.core.refresher
        identities.inspect = self._inspect
        relay = SimpleNamespace(
            identities=identities,
            make_refresher=Refresher,
            wait_until_fetched=self._wait,
        )
        self.credentials = JobCredentials(relay=relay, assigned=assigned)
        endpoint = SimpleNamespace(name="task", where="", advice="")
        access = SimpleNamespace(endpoint=endpoint, agent_credentials=None)
        self.roles = JobRoles(
            read_rules(self.has_containers, self.has_default),
            access,
            self.credentials,
            "eu-central-1",
        )
        self.containers = ContainerRoles(self.roles, relay) if self.has_containers else None
        identities.hold(hold_for_admission())
        self.job = ()
        """The job's role; () before its hook."""
        self.made = {}
        """By id: what role a container has, its path, its addresses as the engine knows them."""

    async def _wait(self, _timeout):
        if self.chance.random() < 0.1:
            raise RelayError("late")

    async def _inspect(self, container):
        return frozenset(self.made[container]["addresses"])

    async def start(self):
        """Judge containers by the rules, without tasks: nothing is fetched here."""
        if self.containers is None:
            return
        self.core.identities.separate(container_roles.is_task_s_own, container_roles._STRANGER)
        for rule in self.roles.roles.containers:
            source = AssignedRole()
            self.containers._refreshers[rule.name] = source, Refresher(source)

    # -- what happens --------------------------------------------------------------------------

    async def hook(self):
        """Let the job's hook ask; only the first one is heard, as by the channel."""
        if self.job != ():
            return
        name = self.chance.choice(list(IDENTITIES))
        loop = asyncio.get_running_loop()
        await self.roles.assign(IDENTITIES[name], {}, loop.time() + 9)
        self.credentials.release()
        if name == "default":
            name = "task" if self.has_default else None
        self.job = name

    async def create(self):
        """Let the job create a container."""
        label = self.chance.choice(("nothing", "db", "less", "plain"))
        shares = self.chance.random() < 0.1
        identities, mint = self.core.identities, self.core.identities.mint
        role = AS_JOB
        try:
            if self.containers is not None:
                path = self.containers.mint(Container("app", {label: ""}, shares))
                if label != "plain":
                    role = self._find_role(label)
                    assert not shares, "it has its own rule and the host's network"
            else:
                path = mint()
        except RequestRefused:
            assert shares
            assert label != "plain"
            return
        made = f"c{len(self.made)}"
        identities.assign(path, made)
        self.made[made] = {"role": role, "path": path, "addresses": set(), "known": False}

    def _find_role(self, label):
        if label == "nothing" or self.job in ((), None):
            return None
        if label == "less":
            return None if self.job == "task" else self.job
        return "db" if self.job == "job" else None

    def _free(self):
        taken = {one for made in self.made.values() for one in made["addresses"]}
        return [address for address in ADDRESSES if address not in taken]

    async def connect(self):
        """Start a container, or let it join one more network; the event comes at once."""
        if not self.made or not (free := self._free()):
            return
        name, made = self.chance.choice(list(self.made.items()))
        first = not made["addresses"]
        made["addresses"].add(self.chance.choice(free))
        (self.core.identities.resume if first else self.core.identities.join)(name)

    async def leave(self):
        """Stop a container, or let it leave a network; its address may be another's then."""
        running = [item for item in self.made.items() if item[1]["addresses"]]
        if not running:
            return
        name, made = self.chance.choice(running)
        made["addresses"].remove(self.chance.choice(sorted(made["addresses"])))
        made["known"] = False
        identities = self.core.identities
        (identities.leave if made["addresses"] else identities.suspend)(name)

    async def inspect(self):
        """Let the engine answer what it was asked."""
        identities = self.core.identities
        self.core.now += 2
        while identities._to_inspect:
            await identities._inspect(identities._to_inspect.pop())

    async def ask(self):
        """Ask for credentials, as somebody, in some way."""
        owners = {one: name for name, made in self.made.items() for one in made["addresses"]}
        peer = self.chance.choice((STEP, STRANGER, *ADDRESSES))
        owner = owners.get(peer)
        paths = {None: self.core.path, **{name: made["path"] for name, made in self.made.items()}}
        which = self.chance.choice(("address", *paths))
        if which == "address":
            self._check(self._ask_by_address(peer), self._expect(peer, owner))
        elif which is None:
            self._check(self.core.ask(self.core.path, peer=peer), self._expect(peer, owner))
        else:
            made = self.made[which]
            identity = self.core.identities.by_path(made["path"], peer)
            before = identity.addresses, identity.first_peer, identity.suspended
            answer = self.core.ask(made["path"], peer=peer)
            self._check(answer, made["role"])
            if answer.status == 200 and before[0] is not None:
                assert peer in before[0], "another address used a container's path"
            elif answer.status == 200:
                assert before[1] in (None, peer)
                assert not before[2]

    def _ask_by_address(self, peer):
        imds, ttl = "169.254.169.254", {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = self.core.ask("/latest/api/token", method="PUT", peer=peer, host=imds, headers=ttl)
        given = {"x-aws-ec2-metadata-token": token.body.decode("latin-1")}
        path = "/latest/meta-data/iam/security-credentials/"
        return self.core.ask(path, peer=peer, host=imds, headers=given)

    def _expect(self, peer, owner):
        """Return the only role that an address may have without a path of its own."""
        if owner is not None:
            return self.made[owner]["role"]
        return self.job if peer == STEP or not self.has_containers else None

    def _check(self, answer, expected):
        """Check that the answer gives no other role than this, and nothing before the hook."""
        if answer.status != 200:
            return
        assert self.job not in ((), None), "a role was served to a job that has none"
        body = answer.body.decode()
        role = json.loads(body)["RoleArn"] if body.startswith("{") else body
        role = role.rpartition("/")[2]
        expected = self.job if expected == AS_JOB else expected
        assert role == expected, f"{role} was served in the place of {expected}"

    async def check_the_job_is_served(self):
        """Check that a job that has a role gets it: a relay that refuses all is no solution."""
        if self.job not in ((), None):
            assert self.core.ask(self.core.path, peer=STEP).status == 200


async def play(seed, sequences):
    """Play so many random lives."""
    chance = random.Random(seed)  # noqa: S311  spread, not secrecy
    for _ in range(sequences):
        with capture_logs():  # a million lines
            await live(chance)


async def live(chance):
    """Play one random life."""
    life = Life(chance)
    await life.start()
    deeds = (life.hook, life.create, life.connect, life.leave, life.inspect, life.ask)
    for _ in range(STEPS):
        await chance.choices(deeds, (3, 3, 3, 1, 3, 6))[0]()
    await life.hook()
    await life.check_the_job_is_served()


@pytest.fixture(autouse=True)
def own_address(monkeypatch):
    """Let the loopback address alone be the task's own."""
    monkeypatch.setattr(container_roles, "is_task_s_own", lambda peer: peer == STEP)


@pytest.mark.parametrize("part", range(4))
def test_no_sequence_gives_the_task_role_or_another_rule_s_role(part):
    """20,000 lives of 14 steps, in four parts."""
    asyncio.run(play(part, SEQUENCES // 4))


def forget_rules(self, is_own, refusal):
    """Do not judge containers apart."""


def keep_address(self, container):
    """Forget nothing when a container stops."""


def believe(self, identity, peer):
    """Let every peer use every path."""
    return True


def allow(self, rule):
    """Let every job have every rule for containers."""


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (Identities, "separate", forget_rules),
        (Identities, "suspend", keep_address),
        (Identities, "may_ask", believe),
        (ContainerRoles, "_find_refusal", allow),
    ],
)
def test_the_model_finds_a_mistake(monkeypatch, where, name, mutant):
    """Each of four mistakes is found within a fraction of the sequences."""
    monkeypatch.setattr(where, name, mutant)
    with pytest.raises(AssertionError):
        asyncio.run(play(0, 2000))
