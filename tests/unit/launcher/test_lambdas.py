"""The Lambda handlers: what each imports, and how they run under Lambda's own bootstrap."""

import itertools
import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import boto3
import pytest

from launcher.batch import read_record
from launcher.demand.message import Message
from local import aws as local_aws
from tests.unit.launcher.demand.deliveries import SECRET, deliver, payload

NEXT = "/2018-06-01/runtime/invocation/next"
DEMAND = {
    "delivery": "",
    "repository": "acme/app",
    "repository_id": 33,
    "organization": None,
    "enterprise": None,
    "installation": None,
    "job_id": 11,
    "run_id": 22,
    "run_attempt": 1,
    "labels": ["small"],
}
OWN = ["launcher", "launcher.lambdas"]
OF_WEBHOOK = [
    *OWN,
    "launcher.demand",
    "launcher.demand.delivery",
    "launcher.demand.events",
    "launcher.demand.function",
    "launcher.demand.message",
    "launcher.demand.order",
    "launcher.demand.references",
    "launcher.demand.signed_call",
    "sidecar",
    "sidecar.aws",
    "sidecar.aws.references",
    "sidecar.errors",
    "sidecar.values",
]
"""All that the webhook's handler imports, beside the standard library."""
KNOWN = {"launcher", "sidecar", *sys.stdlib_module_names}
OF_WORKER = {"launcher.work", "launcher.batch", "launcher.demand.queue", "aiobotocore", "aiohttp"}
NOT_OF_WORKER = {
    "aiohttp.web",
    "boto3",
    "launcher.cli",
    "launcher.demand.function",
    "launcher.demand.server",
    "launcher.serve",
    "launcher.start",
}
SLOW = {"aiobotocore", "aiohttp", "asyncio", "botocore", "jwt", "pydantic", "stamina", "structlog"}


class Runtime(ThreadingHTTPServer):
    """The four paths of Lambda's runtime API, for one container."""

    def __init__(self, events):
        super().__init__(("127.0.0.1", 0), Paths)
        self.events = Queue()
        self.told = Queue()
        self._numbers = itertools.count()
        for event in events:
            self.give(event)

    def give(self, event):
        """Let the handler have one more event."""
        self.events.put((f"request-{next(self._numbers)}", event))


class Paths(BaseHTTPRequestHandler):
    """Answers one request of the bootstrap."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Give the next event, once there is one; at the end, end the connection."""
        found = self.server.events.get() if self.path == NEXT else None
        if found is None:
            self.close_connection = True
            return
        request, event = found
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request,
            "Lambda-Runtime-Deadline-Ms": "1999999999999",
            "Content-Type": "application/json",
            "Lambda-Runtime-Trace-Id": "Root=1-5",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:1:function:f",
        }
        self.answer(200, json.dumps(event).encode(), headers)

    def do_POST(self):
        """Take a response or an error."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.told.put((self.path.rpartition("/")[2], json.loads(body)))
        self.answer(202, b"{}", {})

    def answer(self, status, body, headers):
        """Answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def container(handler, environ, *events):
    """Run a handler under awslambdaric; yield the runtime, and the queue of what it answers."""
    with Runtime(events) as runtime:
        thread = Thread(target=runtime.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        own = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}"}
        program = [sys.executable, "-m", "awslambdaric", f"launcher.lambdas.{handler}"]
        process = subprocess.Popen(
            program,
            env={**os.environ, **environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield runtime, runtime.told
        finally:
            process.kill()
            process.communicate()
            runtime.events.put(None)
            runtime.shutdown()
            thread.join()


@pytest.fixture
def environ(launcher_environment):
    """Return the environment of both functions."""
    return launcher_environment


def record(number, body, **attributes):
    """Return one message as Lambda's event source gives it."""
    own = {name: {"dataType": "Number", "stringValue": v} for name, v in attributes.items()}
    return {
        "messageId": f"message-{number}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1000000"},
        "messageAttributes": own,
    }


def event(secret=SECRET):
    """Return one delivery as a function URL sends it."""
    headers, body = deliver(payload(), secret=secret)
    http = {"method": "POST"}
    return {"headers": headers, "body": body.decode(), "requestContext": {"http": http}}


def test_a_delivery_is_taken_under_lambda_s_bootstrap(environ):
    """The first one and the next; a forged one is refused."""

    def ask(runtime, given):
        while True:
            runtime.give(given)
            kind, answer = runtime.told.get(timeout=120)
            assert kind == "response"
            if answer["statusCode"] != 503:  # the machine is busy: GitHub waits for a second only
                return answer["statusCode"]

    with container("webhook", environ) as (runtime, _):
        given = (event(), event(), event("another secret"))
        assert [ask(runtime, each) for each in given] == [202, 202, 401]


def test_a_function_without_settings_says_which(environ):
    """In the error that Lambda counts, and that an alarm sees."""
    with container("webhook", {**environ, "LAUNCHER_QUEUE_URL": ""}, event()) as (_, told):
        kind, error = told.get(timeout=120)
    assert (kind, error["errorMessage"]) == ("error", "LAUNCHER_QUEUE_URL is missing")


def test_only_poison_comes_again(environ, aws):
    """Of a batch; a message that has to wait is a new one, and counts as done."""
    waiting = json.dumps({**DEMAND, "action": "queued"})
    bodies = ["no JSON", '{"kind":"tick"}', json.dumps({**DEMAND, "action": "completed"}), waiting]
    batch = {"Records": [record(number, body) for number, body in enumerate(bodies)]}
    with container("work", environ, batch, {"Records": []}) as (_, told):
        answers = [told.get(timeout=120) for _ in range(2)]
    assert answers == [
        ("response", {"batchItemFailures": [{"itemIdentifier": "message-0"}]}),
        ("response", {"batchItemFailures": []}),
    ]


def test_without_pools_no_message_is_lost(environ, aws):
    """Nothing goes to the dead letters because of a document that somebody repairs later."""
    batch = {"Records": [record(1, json.dumps({**DEMAND, "action": "completed"}), count="2")]}
    with container("work", {**environ, "LAUNCHER_POOLS": "/none"}, batch, batch) as (_, told):
        answers = [told.get(timeout=120) for _ in range(2)]
    assert answers == [("response", {"batchItemFailures": []})] * 2
    session = boto3.Session("AKIALOCAL", "local", region_name=local_aws.REGION)
    wanted = ["ApproximateNumberOfMessagesDelayed"]
    with closing(session.client("sqs", endpoint_url=aws)) as sqs:
        url = environ["LAUNCHER_QUEUE_URL"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    assert found[wanted[0]] == "2"


def test_a_record_is_read_as_the_message_that_it_is():
    """With its own attributes, and with Lambda's names of SQS's."""
    message = read_record(record(1, "{}", first_seen="12.5", count="3"))
    assert message == Message("{}", 12.5, 3, 1, 1000.0)


def loaded_by(handler, environ, given):
    """Return what a handler's first call imports."""
    program = (
        "import json, sys; before = set(sys.modules); from launcher import lambdas\n"
        f"lambdas.{handler}(json.load(sys.stdin), None)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        env={**os.environ, **environ},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()[-1].split()


def test_the_webhook_s_handler_imports_nothing_else(environ):
    """A cold start pays for each import: no library, no loop, nothing of the worker."""
    loaded = loaded_by("webhook", environ, event())
    assert SLOW.isdisjoint(loaded)
    ours = [name for name in loaded if name.partition(".")[0] in ("launcher", "sidecar")]
    assert ours == sorted(OF_WEBHOOK)
    assert not [name for name in loaded if name.partition(".")[0] not in KNOWN]


def test_the_worker_s_handler_imports_no_server_and_no_command(environ):
    """It never answers HTTP, and nobody types into it."""
    loaded = set(loaded_by("work", environ, {"Records": []}))
    assert loaded >= OF_WORKER
    assert NOT_OF_WORKER.isdisjoint(loaded)


def test_the_api_s_handler_answers_with_the_same_settings(environ):
    """It needs neither queue nor webhook, and loads neither."""
    event = {"rawPath": "/status", "requestContext": {"http": {"method": "GET"}}}
    loaded = loaded_by("api", environ, event)
    assert {"launcher.api.api", "launcher.record.records"} <= set(loaded)
    assert {"aiohttp.web_runner", "launcher.serve", "launcher.batch"}.isdisjoint(loaded)


def test_the_sweep_s_handler_sweeps_with_the_worker_s_settings(environ, aws):
    """It needs no web server; what it cannot look at it says, and ends nothing of that."""
    loaded = set(loaded_by("sweep", environ, {}))
    assert {"launcher.sweep.sweeper", "launcher.record.sweep_state"} <= loaded
    assert {"aiohttp.web_runner", "launcher.serve", "launcher.batch"}.isdisjoint(loaded)
    with container("sweep", environ, {}, {}) as (_, told):
        answers = [told.get(timeout=120) for _ in range(2)]
    assert [kind for kind, _ in answers] == ["response"] * 2
    assert [set(counts.values()) for _, counts in answers] == [{0}, {0}]
