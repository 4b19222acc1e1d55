"""Serve SSM, STS, SQS and DynamoDB without an AWS account: moto's server on a loopback port.

Run on its own with `python -m local.aws`; in process with `serving()`. Here are also the few calls
that a demo or a test makes from outside; each takes the endpoint as its first argument.

The store is moto's and belongs to the process: two servers in one process share it. `reset()`
empties it. moto differs from AWS in that it takes Standard values over 4 KB, never throttles
and never checks a signature; put `local.faults` in front of it where that matters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import threading
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

REGION = "eu-central-1"
ACCOUNT = "123456789012"
CONTROL = "/_local"
"""The path of what no AWS has: below it time passes for queues and parameters."""
AGE = "age-parameters:"
TASK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/runner-task"


@dataclass(frozen=True)
class Credentials:
    """The credentials of a session that AssumeRole has begun."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve SSM and STS (and what else moto has installed); yield the endpoint's URL."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        """Answer without a line for each request on standard error."""

        def log_request(self, *_: Any) -> None:
            """Print nothing."""

    # moto's own ThreadedMotoServer leaves its listening socket to the garbage collector.
    application = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    application = _with_control(application)
    server = make_server(host, port, application, threaded=True, request_handler=Quiet)
    serve = {"poll_interval": 0.05}  # seconds; what `shutdown` waits at most
    thread = threading.Thread(target=server.serve_forever, kwargs=serve, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _one_at_a_time(application: Any) -> Any:
    """Let calls in one after the other, except those that may wait for a message.

    AWS's calls are atomic. moto's are not: of two writes that compare at the same moment both may
    succeed, a transaction that fails takes back what others wrote meanwhile, and a call that looks
    through a list while another changes it is answered with 500.
    """
    turn = threading.Lock()

    def serve(environ: Any, start_response: Any) -> Any:
        call = str(environ.get("HTTP_X_AMZ_TARGET", ""))  # of STS's calls and others: empty
        if call in {"", "AmazonSQS.ReceiveMessage"}:
            return application(environ, start_response)
        with turn:
            return list(application(environ, start_response))

    return serve


def _with_control(application: Any) -> Any:
    """Answer what only stands below CONTROL; the rest is moto's."""

    def serve(environ: Any, start_response: Any) -> Any:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(CONTROL):
            return application(environ, start_response)
        what = path.rpartition("/")[2]
        if what.startswith(AGE):
            _age_parameters(float(what.removeprefix(AGE)))
        else:
            _change_messages(what)
        start_response("204 No Content", [])
        return []

    return serve


_ATTRIBUTES = {
    "end-delays": ("delayed_until",),
    "end-visibility": ("visible_at",),
    "pass": ("delayed_until", "visible_at"),
}
"""The attributes of a message that each path below CONTROL changes."""


def _change_messages(what: str) -> None:
    from moto.sqs.models import sqs_backends

    name, _, seconds = what.partition(":")
    for backend in list(sqs_backends[ACCOUNT].values()):
        for queue in list(backend.queues.values()):
            for message, each in itertools.product(list(queue._messages), _ATTRIBUTES[name]):
                left = getattr(message, each) - 1000 * float(seconds) if seconds else 0
                setattr(message, each, left)


def _age_parameters(seconds: float) -> None:
    from datetime import timedelta

    from moto.ssm.models import ssm_backends

    for backend in list(ssm_backends[ACCOUNT].values()):
        for versions in list(backend._parameters.values()):
            for each in versions:
                each.last_modified_date -= timedelta(seconds=seconds)


def tag(endpoint: str, name: str, **tags: str) -> None:
    """Add tags to the parameter `name`."""
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    with open_client("ssm", endpoint) as ssm:
        ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=given)


def put(endpoint: str, name: str, value: str, kind: str = "SecureString") -> int:
    """Write the parameter `name`, replacing what is there; return its new version."""
    with open_client("ssm", endpoint) as ssm:
        answer = ssm.put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)
    return int(answer["Version"])


def names(endpoint: str, prefix: str = "/", held: Credentials | None = None) -> list[str]:
    """List the names of all parameters that begin with `prefix`, in the account of `held`."""
    begins = {"Key": "Name", "Option": "BeginsWith", "Values": [prefix]}
    with open_client("ssm", endpoint, held) as ssm:
        pages = ssm.get_paginator("describe_parameters").paginate(ParameterFilters=[begins])
        return sorted(found["Name"] for page in pages for found in page["Parameters"])


def assume_role(endpoint: str, role: str = TASK_ROLE, session: str = "task") -> Credentials:
    """Assume `role`: moto then answers GetCallerIdentity with it for these credentials."""
    with open_client("sts", endpoint) as sts:
        held = sts.assume_role(RoleArn=role, RoleSessionName=session)["Credentials"]
    return Credentials(
        held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"], held["Expiration"]
    )


def whoami(endpoint: str, credentials: Credentials) -> str:
    """Return the ARN that `credentials` belong to, as STS has it."""
    with open_client("sts", endpoint, credentials) as sts:
        return str(sts.get_caller_identity()["Arn"])


@dataclass(frozen=True)
class Queues:
    """The URLs of a queue and of its dead letters."""

    main: str
    dead: str


def make_queues(
    endpoint: str, name: str = "launches", *, visibility: int = 30, receives: int = 5
) -> Queues:
    """Make a standard queue whose messages go to dead letters after so many receives."""
    with open_client("sqs", endpoint) as sqs:
        dead = str(sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"])
        wanted = ["QueueArn"]
        found = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=wanted)["Attributes"]
        policy = {"deadLetterTargetArn": found["QueueArn"], "maxReceiveCount": receives}
        attributes = {
            "VisibilityTimeout": str(visibility),
            "RedrivePolicy": json.dumps(policy),
        }
        made = sqs.create_queue(QueueName=name, Attributes=attributes)
        return Queues(str(made["QueueUrl"]), dead)


def make_table(endpoint: str, name: str = "launches") -> str:
    """Make the table of launches; return its name."""
    with open_client("dynamodb", endpoint) as dynamodb:
        dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    return name


def end_delays(endpoint: str) -> None:
    """Let the delayed messages of all queues come now. No call of AWS's does it."""
    _post(f"{endpoint}{CONTROL}/end-delays")


def pass_time(endpoint: str, seconds: float) -> None:
    """Let what is delayed, or held by a receiver, come so many seconds sooner: time has passed."""
    _post(f"{endpoint}{CONTROL}/pass:{seconds:g}")


def age_parameters(endpoint: str, seconds: float) -> None:
    """Make all parameters so many seconds older."""
    _post(f"{endpoint}{CONTROL}/{AGE}{seconds:g}")


def end_visibility(endpoint: str) -> None:
    """Give out again what receivers hold, as SQS does when one has died."""
    _post(f"{endpoint}{CONTROL}/end-visibility")


def end_leases(endpoint: str, name: str = "launches", *, pid: int | None = None) -> int:
    """End the leases of launches, as time does; returns how many these were.

    With `pid` only those of one worker's process.
    """
    with open_client("dynamodb", endpoint) as dynamodb:
        items = dynamodb.scan(TableName=name, ConsistentRead=True)["Items"]
        part = f"/{pid}/" if pid is not None else ""
        held = [
            item for item in items if "lease_holder" in item and part in item["lease_holder"]["S"]
        ]
        for item in held:
            dynamodb.update_item(
                TableName=name,
                Key={"id": item["id"]},
                UpdateExpression="SET lease_until = :past",
                ExpressionAttributeValues={":past": {"N": "1"}},
            )
        return len(held)


def read_table(endpoint: str, name: str) -> list[dict[str, Any]]:
    """Return all items of a table, as DynamoDB writes them."""
    with open_client("dynamodb", endpoint) as dynamodb:
        pages = dynamodb.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]


def write_log(endpoint: str, group: str, stream: str, lines: list[str]) -> None:
    """Write all of a log to CloudWatch Logs; what the stream had before is replaced."""
    with open_client("logs", endpoint) as logs:
        known = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if not known:
            logs.create_log_group(logGroupName=group)
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)
        if streams["logStreams"]:
            logs.delete_log_stream(logGroupName=group, logStreamName=stream)
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
        if events:
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def reset(endpoint: str) -> None:
    """Remove everything: parameters, assumed roles, queues and tables."""
    _post(f"{endpoint}/moto-api/reset")


def _post(url: str) -> None:
    asked = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(asked, timeout=60):
        pass


_NOBODY = ("local-access-key", "local-secret-key", None)


@contextmanager
def open_client(service: str, endpoint: str, held: Credentials | None = None) -> Iterator[Any]:
    """Open a client of a service for the block, with the credentials of `held` or nobody's."""
    key, secret, token = (
        (held.access_key_id, held.secret_access_key, held.session_token) if held else _NOBODY
    )
    with _MAKING:  # a session makes one client at a time
        client = _open_session().client(
            service,
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
        )
    with closing(client):
        yield client


@cache
def _open_session() -> Any:
    """Open the one session of all clients: it keeps what it has read of each service's calls."""
    import boto3  # slow to import, and the server does not need it

    return boto3.Session(region_name=REGION)


_MAKING = threading.Lock()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.aws", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port to listen on")
    host, _, port = parser.parse_args().address.rpartition(":")
    with serving(host, int(port)) as url:
        # Not sooner: what is raised while the server starts would leave its thread behind.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit())
        print(f"ready {url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
