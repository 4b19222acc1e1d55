"""Webhooks: what is forged, foreign or broken launches nothing, and each has its answer."""

import asyncio
import gc
import json
import os
import random
import tracemalloc

import pytest
from structlog.testing import capture_logs

from bench import virtual
from launcher.demand.delivery import LARGEST, Demand, is_signed
from launcher.demand.webhook import Webhook
from tests.unit.launcher.demand.deliveries import SECRET, deliver, payload, sign

HOSTILE = int(os.environ.get("HOSTILE_WEBHOOKS", "5000"))
"""The soak sets 100,000."""


def take(headers, body, *, secrets=(SECRET,), send=None, **more):
    """Let a webhook take one delivery; return the answer and what was sent."""
    sent = []

    async def keep(demand):
        sent.append(demand)

    async def life():
        return await Webhook(secrets, send or keep, **more).take(headers, body)

    return asyncio.run(asyncio.wait_for(life(), 10)), sent


def test_the_signature_is_github_s():
    """GitHub's own example of its documentation."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_signed([SECRET.encode()], signature, b"Hello, World!")


def test_a_queued_job_becomes_a_demand():
    """With all that a launch needs, and nothing else."""
    answer, sent = take(*deliver(payload()))
    assert (answer.status, answer.text) == (202, "queued: job 11")
    (demand,) = sent
    assert (demand.repository, demand.owner, demand.repository_id) == ("acme/app", "acme", 33)
    assert (demand.job_id, demand.run_id, demand.run_attempt) == (11, 22, 2)
    assert (demand.labels, demand.installation) == (("self-hosted", "small"), 44)
    assert Demand.from_json(demand.to_json()) == demand


@pytest.mark.parametrize(
    ("kind", "number", "app"),
    [
        ("integration", "123", "123"),
        ("repository", "123", None),
        ("integration", "12;3", None),
        ("integration", "", None),
    ],
)
def test_a_demand_says_which_app_sent_it(kind, number, app):
    """Of several Apps that one is asked first."""
    more = {"type": kind, "id": number}
    headers = {f"x_github_hook_installation_target_{key}": value for key, value in more.items()}
    _, (demand,) = take(*deliver(payload(), **headers))
    assert demand.app == app


@pytest.mark.parametrize("action", ["queued", "waiting", "in_progress", "completed"])
def test_each_action_is_passed_on(action):
    """Also those that start nothing: they end a wait, or clean up."""
    assert take(*deliver(payload(action=action)))[1][0].action == action


def test_a_queued_job_that_waits_for_an_approval_is_waiting():
    """GitHub says queued, and the job's own status says what is meant."""
    _, (demand,) = take(*deliver(payload(job={"status": "waiting"})))
    assert demand.action == "waiting"


def test_either_secret_is_accepted_while_one_is_replaced():
    """And no third one."""
    secrets = ("the old secret", "the new secret")
    for secret in secrets:
        assert take(*deliver(payload(), secret=secret), secrets=secrets)[0].status == 202
    assert take(*deliver(payload(), secret="another one"), secrets=secrets)[0].status == 401


@pytest.mark.parametrize("secrets", [(), ("",), ("short",), (SECRET, "")])
def test_a_secret_that_can_be_guessed_is_refused(secrets):
    """An empty one would make every forger's signature good."""
    with pytest.raises(ValueError, match="each secret needs 8 bytes or more"):
        Webhook(secrets, None)


def test_the_raw_bytes_are_verified():
    """Spaces and escapes that a parser would lose are signed too."""
    body = b' { "action":"queued" , ' + json.dumps(payload()).encode()[1:]
    assert take(*deliver(body))[0].status == 202
    headers, _ = deliver(body)
    assert take(headers, json.dumps(json.loads(body)).encode())[0].status == 401


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 64, "sha256=" + "é" * 64, "0" * 64],
)
def test_a_forged_delivery_is_refused(signature):
    """Whatever stands where the signature should be."""
    headers, body = deliver(payload(), x_hub_signature_256=signature)
    answer, sent = take(headers, body)
    assert (answer.status, sent) == (401, [])


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"event": "ping"}, {"zen": "x"}, 200),
        ({"event": "push"}, {}, 200),
        ({"event": ""}, payload(), 200),
        ({}, {"ref": "refs/heads/main"}, 400),  # a push, sent again under another event's name
        ({}, b"not json", 400),
        ({}, b"[" * 200_000, 400),
        ({}, b"\xff\xfe", 400),
        ({}, b'{"workflow_job": {"id": ' + b"9" * 5000 + b"}}", 400),
        ({}, [], 400),
        ({}, payload(action="deleted"), 200),
        ({}, payload(action=["queued"]), 200),
        ({}, payload(repository={"id": 1, "full_name": "a/b/../c"}), 400),
        ({}, payload(job={"id": True}), 400),
        ({}, payload(job={"id": -1}), 400),
        ({}, payload(job={"labels": "self-hosted"}), 400),
        ({}, payload(job={"labels": ["x"] * 101}), 400),
        ({}, payload(job={"labels": ["x\n"]}), 200),
        ({"content_type": "application/x-www-form-urlencoded"}, payload(), 415),
    ],
)
def test_what_is_no_demand_has_its_answer(headers, content, status):
    """Nothing is sent."""
    answer, sent = take(*deliver(content, **headers))
    assert (answer.status, sent) == (status, [])


def test_more_than_25_mb_is_refused():
    """Before anything is computed."""
    answer, sent = take({}, bytes(LARGEST + 1))
    assert (answer.status, sent) == (413, [])


@pytest.mark.parametrize(
    ("allowed", "status"),
    [((), 202), (("ACME",), 202), (("acme/app",), 202), (("acme/ap", "app"), 403)],
)
def test_an_allow_list_names_owners_and_repositories(allowed, status):
    """A signed delivery of another repository is refused visibly."""
    assert take(*deliver(payload()), allowed=allowed)[0].status == status


async def _stubborn(_):
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(100):
                await asyncio.sleep(0)
            raise


async def _failing(_):
    raise OSError("the queue is gone")


@pytest.mark.parametrize("send", [_stubborn, _failing])
def test_the_answer_comes_within_a_second_whatever_the_queue_does(send):
    """GitHub is told that it failed, so that the sweep finds the delivery and asks for it."""

    async def life():
        answer = await Webhook([SECRET], send).take(*deliver(payload()))
        return answer.status, asyncio.get_running_loop().time()

    # On virtual time: the machine may be busy, and the webhook waits by timers alone.
    with capture_logs() as events, asyncio.Runner(loop_factory=virtual.Loop) as runner:
        status, took = runner.run(life())
    assert status == 503
    assert took < 1
    assert [event["event"] for event in events] == ["webhook.failed"]


def test_a_newer_version_s_message_is_understood():
    """And what is no message is a ValueError."""
    _, (demand,) = take(*deliver(payload()))
    newer = json.loads(demand.to_json()) | {"tomorrow": 1}
    assert Demand.from_json(json.dumps(newer)) == demand
    for text in ("{}", "[]", "x", '{"labels": []}'):
        with pytest.raises(ValueError, match=r".+"):
            Demand.from_json(text)


def _damage(chance, headers, body):
    """Change a delivery as a stranger without the secret can."""
    raw = bytearray(body)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(raw))
        raw[place : place + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
    changed = dict(headers)
    if chance.random() < 0.3:
        changed["x-hub-signature-256"] = chance.choice(
            ["sha256=" + chance.randbytes(32).hex(), sign(bytes(raw), "guessed secret"), "\x00", ""]
        )
    if chance.random() < 0.2:
        changed[chance.choice(list(changed))] = chance.randbytes(20).decode("latin-1")
    return changed, bytes(raw)


def _twist(chance, value):
    """Change a payload's values: what a signed delivery of another shape would be."""
    odd = [None, True, -1, 2**70, 1.5, "", "\x1b[2J", "x" * 5000, [], {}, [[]], "../..", "a/b"]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        return {**value, key: _twist(chance, value[key])}
    return chance.choice(odd)


def test_hostile_deliveries_launch_nothing_and_the_memory_stays_flat():
    """Seeded: forged ones are all refused; odd signed ones are answered and never raise."""
    chance = random.Random(13)  # noqa: S311  seeded, not secret
    good = deliver(payload())
    sent, statuses = [], set()

    async def keep(demand):
        sent.append(demand.job_id)

    async def life():
        webhook = Webhook([SECRET], keep)
        tracemalloc.start()
        for number in range(HOSTILE):
            headers, body = _damage(chance, *good)
            if body != good[1]:
                assert (await webhook.take(headers, body)).status == 401
            assert not sent
            answer = await webhook.take(*deliver(_twist(chance, payload())))
            statuses.add(answer.status)
            sent.clear()
            if number == HOSTILE // 10:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()  # how much waits for it depends on what other tests have left in the process
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return grown

    assert asyncio.run(life()) < 1024 * 1024
    assert statuses == {200, 202, 400}
