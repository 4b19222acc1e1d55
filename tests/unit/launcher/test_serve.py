"""The services: what they take, what they answer, and how they stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from launcher import serve
from launcher.demand.message import Message
from launcher.demand.queue import LONGEST_WAIT, Received
from launcher.interruption import Interruption
from launcher.serve import Health, Poller, WebhookSecrets
from launcher.settings import ServeSettings, load
from local import aws as local_aws
from sidecar.aws.calls import AccessDenied
from tests.unit.launcher.demand.deliveries import deliver, payload

MODES = ("webhook", "work", "serve")


@pytest.fixture
def environ(launcher_environment):
    """Return the environment of every service."""
    return {**os.environ, **launcher_environment, "LAUNCHER_LISTEN": "127.0.0.1:0"}


class Program:
    """A service that runs."""

    def __init__(self, process):
        self._process = process
        self.lines = []

    def wait_for(self, event):
        """Return the next line of an event."""
        for text in self._process.stdout:
            self.lines.append(json.loads(text))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event} in {self.lines}")

    def stop(self):
        """Send SIGTERM; return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        self.lines += map(json.loads, self._process.stdout.read().splitlines())
        return self._process.wait(30)


@contextmanager
def program(command, environ):
    """Run a service until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", command],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.communicate()


def get(url):
    """Return status and JSON of a page."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post(url, body, headers):
    """Post a delivery; return the status."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers), timeout=30
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("command", MODES)
def test_a_service_starts_is_healthy_and_stops(environ, command):
    """Each does what it is called, and ends well by SIGTERM."""
    with program(command, environ) as service:
        started = service.wait_for("service.started")
        assert get(started["address"] + "/healthz") == (200, {"problems": {}})
        assert service.stop() == 0
    assert started["parts"] == [part for part in ("webhook", "work") if command in (part, "serve")]
    assert service.lines[-1]["event"] == "service.stopped"


def test_a_delivery_goes_through_the_queue_to_the_worker(environ):
    """In one process: the worker says that nobody tells whether the job may have a runner."""
    headers, body = deliver(payload())
    with program("serve", environ) as service:
        address = service.wait_for("service.started")["address"]
        while post(f"{address}/webhook", body, headers) == 503:
            pass  # the machine is busy: GitHub's answer has to come within a second
        put_off = service.wait_for("message.put_off")
        assert service.stop() == 0
    assert "who asks is not known" in put_off["reason"]
    assert "canary" not in str(service.lines)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"LAUNCHER_POOLS": "/none"}, 11, "cannot read /none: No such file or directory"),
        ({"LAUNCHER_POOLS": "ssm:/none"}, 12, "there is no such parameter (LAUNCHER_POOLS)"),
        ({"LAUNCHER_WEBHOOK_SECRETS": "file:/none"}, 12, "LAUNCHER_WEBHOOK_SECRETS from /none"),
        ({"LAUNCHER_WEBHOOK_SECRETS": "short"}, 11, "each secret needs 8 bytes or more"),
        ({"LAUNCHER_LISTEN": "192.0.2.1:1"}, 11, "cannot listen on 192.0.2.1:1 (LAUNCHER_LISTEN)"),
    ],
)
def test_what_cannot_begin_says_why(environ, monkeypatch, changes, code, words):
    """In one line; nothing is served."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, environ[name])
    settings, _ = load({}, {**environ, **changes}, ServeSettings)
    with capture_logs() as events:
        assert serve.run(settings, local_aws.REGION, Interruption()) == code
    assert events[-1]["event"] == "service.failed"
    assert words in events[-1]["reason"]


class Fake:
    """A queue in memory, and the worker that handles what comes out of it."""

    def __init__(self, *found):
        self.found = list(found)
        self.asked = []
        self.deleted = []
        self.handled = []
        self.begun = 0
        self.go_on = asyncio.Event()
        self.is_full = asyncio.Event()
        self.is_empty = asyncio.Event()

    async def receive(self, most, wait):
        """Give the next batch, or an error; with none left, wait."""
        assert wait == LONGEST_WAIT
        self.asked.append(most)
        if not self.found:
            self.is_empty.set()
            await asyncio.Event().wait()
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def delete(self, received):
        """Delete a message."""
        self.deleted.append(received.receipt)

    async def handle(self, message):
        """Handle a message when the test says so."""
        self.begun += 1
        if self.begun == 3:
            self.is_full.set()
        await self.go_on.wait()
        self.handled.append(message.body)


def messages(*names):
    """Return received messages."""
    return [Received(Message(name, 1.0), name) for name in names]


def run(coroutine):
    """Run a test's coroutine, for 120 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def test_no_more_is_taken_than_can_be_handled():
    """What waits in the queue is there for another worker."""

    async def life():
        fake = Fake(messages("a"), messages("b", "c"), messages("d"))
        polling = asyncio.create_task(Poller(fake, fake, 3, Health()).poll())
        await fake.is_full.wait()
        before = list(fake.asked)
        fake.go_on.set()
        await fake.is_empty.wait()
        polling.cancel()
        return before, fake

    before, fake = run(life())
    assert before == [3, 2]
    assert sorted(fake.handled) == ["a", "b", "c", "d"]
    assert sorted(fake.deleted) == ["a", "b", "c", "d"]


def test_a_stop_lets_what_runs_end():
    """Nothing new is taken meanwhile."""

    async def life():
        fake = Fake(messages("a"))
        poller = Poller(fake, fake, 3, Health())
        polling = asyncio.create_task(poller.poll())
        await fake.is_empty.wait()
        polling.cancel()
        finishing = asyncio.create_task(poller.finish(20))
        await asyncio.sleep(0)
        fake.go_on.set()
        await finishing
        return fake.deleted

    assert run(life()) == ["a"]


def test_a_stop_cuts_what_takes_too_long():
    """It is not deleted: it comes again."""

    async def life():
        fake = Fake(messages("a", "b"))
        poller = Poller(fake, fake, 3, Health())
        polling = asyncio.create_task(poller.poll())
        await fake.is_empty.wait()
        polling.cancel()
        with capture_logs() as events:
            await poller.finish(0.01)
        return fake, events

    fake, events = run(life())
    assert (fake.handled, fake.deleted) == ([], [])
    assert [each["event"] for each in events] == ["work.awaited", "work.cut"]


def test_a_queue_that_refuses_is_said_once_and_shown(monkeypatch):
    """The service goes on, and is well again when the queue is."""
    monkeypatch.setattr(serve, "FIRST_PAUSE", 0.001)

    async def life():
        denied = AccessDenied("cannot receive: access denied (needs sqs:ReceiveMessage)")
        fake, health = Fake(denied, denied, messages()), Health()
        seen = []
        poller = Poller(fake, fake, 3, health)
        tell = poller._tell

        def keep(problem):
            tell(problem)
            seen.append(dict(health.problems))

        poller._tell = keep
        with capture_logs() as events:
            polling = asyncio.create_task(poller.poll())
            await fake.is_empty.wait()
            polling.cancel()
        return seen, [each["event"] for each in events]

    seen, events = run(life())
    assert [bool(each) for each in seen] == [True, True, False]
    assert "needs sqs:ReceiveMessage" in seen[0]["queue"]
    assert events == ["queue.failed", "queue.reached"]


def test_a_place_may_hold_several_secrets(tmp_path):
    """One a line; a literal is one secret, whatever it holds."""
    path = tmp_path / "secrets"
    path.write_text("first one\nsecond one\n")
    assert run(WebhookSecrets(f"file:{path}, a literal ", None).read()) == [
        "first one",
        "second one",
        "a literal",
    ]


def test_a_worker_gets_a_tick_every_minute(monkeypatch):
    """What fails is said, and done again."""
    monkeypatch.setattr(serve, "TICK_EVERY", 0.0)

    class Ticked:
        def __init__(self):
            self.bodies = []
            self.enough = asyncio.Event()

        async def handle(self, message):
            self.bodies.append(json.loads(message.body))
            if len(self.bodies) == 1:
                raise AccessDenied("cannot read the launch record: access denied")
            if len(self.bodies) == 3:
                self.enough.set()

    async def life():
        worker = Ticked()
        with capture_logs() as events:
            ticking = asyncio.create_task(serve._tick(worker))
            await worker.enough.wait()
            ticking.cancel()
        return worker.bodies, [each["event"] for each in events]

    bodies, events = run(life())
    assert bodies[:3] == [{"kind": "tick"}] * 3
    assert events == ["tick.failed"]
