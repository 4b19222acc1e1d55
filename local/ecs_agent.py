"""Serve what the ECS agent offers a task: credentials, task metadata v4, scale-in protection.

Run on its own with `python -m local.ecs_agent`; in process with `serving()`. Statuses, bodies,
their order and the rate limit are those of amazon-ecs-agent's task server (ecs-agent/tmds). The
credentials are made up, or come from the STS at `--aws-endpoint`, so that they work there.

Over HTTP, on the agent itself:

    GET  /_local/environment  the variables that ECS would set in the container
    PUT  /_local/credentials  {"mode": one of CREDENTIALS, "times": N or null, "lifetime": seconds}
    PUT  /_local/protection   {"mode": one of PROTECTION, "times": N or null}
    GET  /_local/protection   whether the task is protected now, and until when
    GET  /_local/requests     what came in, oldest first, as in `Seen`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import signal
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from aiohttp import web

from local import aws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Credentials = Literal[
    "ready",
    "uninitialized",  # 503: the agent waits for them
    "unknown",  # 400: an agent that was restarted, or a task without a role
    "expired",  # 200, with a time that has passed
    "broken",  # 500
    "throttled",  # 429, whatever the rate
    "hang",  # no answer at all
]
Protection = Literal[
    "ready",
    "not-a-service",  # 200 with a failure: a task that RunTask started
    "denied",  # the task role lacks ecs:UpdateTaskProtection
    "throttled",
    "late",  # 504: ECS did not answer the agent
    "no-role",  # 403: the task has no role
    "hang",
]
CREDENTIALS = get_args(Credentials)
PROTECTION = get_args(Protection)

RATE, BURST = 40.0, 60.0
"""Requests per second, for each source address and path; the agent's defaults."""


@dataclass(frozen=True)
class Task:
    """The task that the agent serves."""

    role: str = aws.TASK_ROLE
    region: str = aws.REGION
    account: str = aws.ACCOUNT
    cluster: str = "runners"
    family: str = "runner"
    revision: int = 7
    launch_type: str = "EC2"
    network_mode: str = "awsvpc"
    service: str | None = "runners"
    """None: a task that RunTask started, which cannot be protected."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def arn(self) -> str:
        """The task's ARN."""
        return f"arn:aws:ecs:{self.region}:{self.account}:task/{self.cluster}/{self.id}"

    @property
    def identity(self) -> str:
        """The ARN that STS knows the task role's credentials by."""
        role = self.role.rpartition("/")[2]
        return f"arn:aws:sts::{self.account}:assumed-role/{role}/{self.id}"


@dataclass
class Seen:
    """One request that came in."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    peer: str
    status: int | None = None
    """The status of the answer; None if there is none, or not yet."""


@dataclass
class Mode:
    """The behaviour of one part of the agent, and for how many more requests."""

    name: str = "ready"
    times: int | None = None

    def take(self) -> str:
        """Return the mode for one request, and count it."""
        if self.name != "ready" and self.times is not None:
            if self.times <= 0:
                self.name, self.times = "ready", None
            else:
                self.times -= 1
        return self.name


class Buckets:
    """The rate limit: a token bucket for each source address and path."""

    def __init__(
        self, clock: Callable[[], float], rate: float = RATE, burst: float = BURST
    ) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def refuses(self, peer: str, path: str) -> bool:
        """Take one token; return whether there was none."""
        now = self._clock()
        left, at = self._left.get((peer, path), (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        taken = 0 if left < 1 else 1
        self._left[peer, path] = (left - taken, now)
        return not taken


class Agent:
    """The running agent, for the code that started it."""

    def __init__(
        self,
        task: Task,
        endpoint: str | None,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.task = task
        self.url = ""
        self.credentials_id = str(uuid.uuid4())
        self.container_id = f"{task.id}-{secrets.randbelow(10**10):010d}"
        self.requests: list[Seen] = []
        self.credentials = Mode()
        self.protection = Mode()
        self.lifetime = 6 * 3600.0
        """Seconds that a new version of the credentials lives."""
        self.protected_until: float | None = None
        self._endpoint = endpoint
        self._now = now
        self._held: dict[str, str] = {}
        self._expires = 0.0
        self._buckets = Buckets(clock)
        self._minting = asyncio.Lock()

    @property
    def relative_uri(self) -> str:
        """The value of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI."""
        return f"/v2/credentials/{self.credentials_id}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of ECS, but with a full URI: this agent is seldom at 169.254.170.2."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + self.relative_uri,
            "AWS_EXECUTION_ENV": f"AWS_ECS_{self.task.launch_type}",
            "ECS_AGENT_URI": f"{self.url}/api/{self.container_id}",
            "ECS_CONTAINER_METADATA_URI_V4": f"{self.url}/v4/{self.container_id}",
        }

    async def rotate(self) -> None:
        """Make new credentials, which clients get from now on."""
        async with self._minting:
            if self._endpoint:
                minted = await asyncio.to_thread(
                    aws.assume_role, self._endpoint, self.task.role, self.task.id
                )
                key, secret, token = (
                    minted.access_key_id,
                    minted.secret_access_key,
                    minted.session_token,
                )
            else:
                key = f"ASIALOCAL{secrets.token_hex(6).upper()[:11]}"
                secret, token = secrets.token_hex(20), secrets.token_urlsafe(180)
            self._expires = self._now() + self.lifetime
            self._held = {
                "RoleArn": self.task.role,
                "AccessKeyId": key,
                "SecretAccessKey": secret,
                "Token": token,
                "Expiration": _moment(self._expires),
            }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if control := _CONTROL.get((request.method, request.path)):
            return await control(self, request)
        peer = request.remote or ""
        seen = Seen(time.time(), request.method, request.raw_path, peer)
        self.requests.append(seen)
        if self._buckets.refuses(peer, request.path):
            response = _throttle(peer)
        else:
            response = await self._routed(request)
        seen.status = response.status
        return response

    async def _routed(self, request: web.BaseRequest) -> web.Response:
        for pattern, methods, handler in _ROUTES:
            if found := pattern.fullmatch(request.path):
                if methods and request.method not in methods:
                    return web.Response(status=405)
                return await handler(self, request, *found.groups())
        return web.Response(status=404, text="404 page not found\n")

    async def _credentials_v1(self, request: web.BaseRequest) -> web.Response:
        return await self._credentials(1, request.query.get("id", ""))

    async def _credentials_v2(self, _request: web.BaseRequest, asked: str) -> web.Response:
        return await self._credentials(2, asked)

    async def _credentials(self, version: int, asked: str) -> web.Response:
        if not asked:
            return _refusal(version, 400, "NoIdInRequest", "No Credential ID in the request")
        mode = self.credentials.take() if asked == self.credentials_id else "unknown"
        if mode == "hang":
            await _forever()
        if mode == "throttled":
            return _throttle("")
        if mode in _CREDENTIAL_ERRORS:
            return _refusal(version, *_CREDENTIAL_ERRORS[mode])
        # The backend sends new ones long before the old ones end.
        if self._expires - self._now() < min(3600, self.lifetime / 2):
            await self.rotate()
        held = dict(self._held)
        if mode == "expired":
            held["Expiration"] = _moment(self._now() - 60)
        return _json(200, held)

    async def _container(self, _request: web.BaseRequest, asked: str) -> web.Response:
        if asked != self.container_id:
            return _json(
                404,
                "V4 container metadata handler: unable to get container ID from request: "
                f"unable to get docker ID from v3 endpoint ID: {asked}",
            )
        return _json(200, _container(self.task, self.container_id))

    async def _task(self, _request: web.BaseRequest, asked: str) -> web.Response:
        if asked != self.container_id:
            return _json(
                404,
                "V4 task metadata handler: unable to get task arn from request: "
                f"unable to get task Arn from v3 endpoint ID: {asked}",
            )
        return _json(200, _task(self.task, self.container_id))

    async def _state(self, request: web.BaseRequest, asked: str) -> web.Response:
        """Answer a task protection request, in the agent's order of checks."""
        wanted: dict[str, Any] = {}
        if request.method == "PUT":
            try:
                wanted = _protection_request(await request.read())
            except ValueError:
                return _protection_error(
                    400,
                    "InvalidParameterException",
                    "UpdateTaskProtection: failed to decode request",
                )
        if asked != self.container_id:
            return _protection_error(
                404, "ResourceNotFoundException", "Failed to find a task for the request"
            )
        if request.method == "PUT" and wanted.get("ProtectionEnabled") is None:
            return _protection_error(
                400,
                "InvalidParameterException",
                "Invalid request: does not contain 'ProtectionEnabled' field",
                arn=self.task.arn,
            )
        return await self._protection(request.method, wanted)

    async def _protection(self, method: str, wanted: dict[str, Any]) -> web.Response:
        mode = self.protection.take()
        operation = "UpdateTaskProtection" if method == "PUT" else "GetTaskProtection"
        if mode == "hang":
            await _forever()
        if mode == "not-a-service" or (mode == "ready" and self.task.service is None):
            failure = {"Arn": self.task.arn, "Detail": None, "Reason": "TASK_NOT_VALID"}
            return _json(200, {"failure": failure})
        if mode == "denied":
            why = f"User: {self.task.role} is not authorized to perform: ecs:{operation}"
            return self._ecs_error("AccessDeniedException", why)
        if mode == "throttled":
            return self._ecs_error("ThrottlingException", "Rate exceeded")
        if mode in _PROTECTION_ERRORS:
            return _protection_error(*_PROTECTION_ERRORS[mode], arn=self.task.arn)
        return self._protect(wanted)

    def _protect(self, wanted: dict[str, Any]) -> web.Response:
        if wanted.get("ProtectionEnabled"):
            minutes = wanted.get("ExpiresInMinutes")
            minutes = 120 if minutes is None else minutes
            if not 1 <= minutes <= 2880:
                why = "expiresInMinutes must be between 1 and 2880"
                return self._ecs_error("InvalidParameterException", why)
            self.protected_until = self._now() + minutes * 60
        elif wanted:
            self.protected_until = None
        return _json(200, {"protection": self.protection_now()})

    def protection_now(self) -> dict[str, Any]:
        """Return whether the task is protected, as ECS would."""
        if self.protected_until is not None and self.protected_until <= self._now():
            self.protected_until = None
        until = None if self.protected_until is None else _moment(self.protected_until)
        return {
            "ExpirationDate": until,
            "ProtectionEnabled": until is not None,
            "TaskArn": self.task.arn,
        }

    def _ecs_error(self, code: str, message: str) -> web.Response:
        return _protection_error(
            400, code, message, arn=self.task.arn, request_id=str(uuid.uuid4())
        )


_CREDENTIAL_ERRORS = {
    "uninitialized": (503, "CredentialsUninitialized", "Credentials uninitialized for ID"),
    "unknown": (400, "InvalidIdInRequest", "Credentials not found"),
    "broken": (500, "InternalServerError", ""),
}
_PROTECTION_ERRORS = {
    "late": (504, "RequestCanceled", "Timed out calling ECS Task Protection API"),
    "no-role": (
        403,
        "AccessDeniedException",
        "Invalid Request: no task IAM role credentials available for task",
    ),
}


# --- answers ------------------------------------------------------------------------------------


def _json(status: int, document: Any) -> web.Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def _refusal(version: int, status: int, code: str, text: str) -> web.Response:
    message = f"CredentialsV{version}Request: {text}" if text else "Internal server error"
    return _json(status, {"code": code, "message": message, "HTTPErrorCode": status})


def _throttle(peer: str) -> web.Response:
    return web.Response(
        status=429,
        text="You have reached maximum request limit.",
        headers={
            "X-Rate-Limit-Limit": f"{RATE:.2f}",
            "X-Rate-Limit-Duration": "1",
            "X-Rate-Limit-Request-Forwarded-For": "",
            "X-Rate-Limit-Request-Remote-Addr": peer,
        },
    )


def _protection_error(
    status: int, code: str, message: str, *, arn: str = "", request_id: str = ""
) -> web.Response:
    error = {"Code": code, "Message": message}
    document: dict[str, Any] = {"requestID": request_id} if request_id else {}
    document["error"] = {"Arn": arn, **error} if arn else error
    return _json(status, document)


def _protection_request(body: bytes) -> dict[str, Any]:
    """Decode as strictly as the agent: no unknown field, no other type."""
    wanted = json.loads(body)
    if not isinstance(wanted, dict) or wanted.keys() - {"ProtectionEnabled", "ExpiresInMinutes"}:
        raise ValueError("unknown fields")
    enabled, minutes = wanted.get("ProtectionEnabled"), wanted.get("ExpiresInMinutes")
    wrong = isinstance(minutes, bool) or not isinstance(minutes, int | None)
    if wrong or not isinstance(enabled, bool | None):
        raise ValueError("wrong types")
    return wanted


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _forever() -> None:
    # Ends when the connection does: aiohttp then cancels the handler.
    await asyncio.Event().wait()


# --- task metadata v4 ---------------------------------------------------------------------------


def _container(task: Task, container: str) -> dict[str, Any]:
    prefix = f"arn:aws:ecs:{task.region}:{task.account}"
    image = f"{task.account}.dkr.ecr.{task.region}.amazonaws.com/runner:latest"
    return {
        "DockerId": container if task.launch_type == "FARGATE" else task.id * 2,
        "Name": "runner",
        "DockerName": f"ecs-{task.family}-{task.revision}-runner-{task.id[:20]}",
        "Image": image,
        "ImageID": f"sha256:{task.id * 2}",
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster,
            "com.amazonaws.ecs.container-name": "runner",
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.task-definition-family": task.family,
            "com.amazonaws.ecs.task-definition-version": str(task.revision),
        },
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 1024, "Memory": 2048},
        "CreatedAt": "2026-01-01T00:00:02.123456789Z",
        "StartedAt": "2026-01-01T00:00:03.123456789Z",
        "Type": "NORMAL",
        "LogDriver": "awslogs",
        "LogOptions": {
            "awslogs-group": f"/ecs/{task.family}",
            "awslogs-region": task.region,
            "awslogs-stream": f"ecs/runner/{task.id}",
        },
        "ContainerARN": f"{prefix}:container/{task.cluster}/{task.id}/{uuid.UUID(task.id)}",
        "Networks": [_network(task)],
    }


def _network(task: Task) -> dict[str, Any]:
    if task.network_mode != "awsvpc":
        addresses = ["172.17.0.2"] if task.network_mode == "bridge" else [""]
        return {"NetworkMode": task.network_mode, "IPv4Addresses": addresses}
    return {
        "NetworkMode": "awsvpc",
        "IPv4Addresses": ["10.0.2.61"],
        "AttachmentIndex": 0,
        "MACAddress": "0e:10:e2:01:bd:91",
        "IPv4SubnetCIDRBlock": "10.0.2.0/24",
        "PrivateDNSName": f"ip-10-0-2-61.{task.region}.compute.internal",
        "SubnetGatewayIpv4Address": "10.0.2.1/24",
    }


def _task(task: Task, container: str) -> dict[str, Any]:
    cluster = task.cluster
    if task.launch_type == "FARGATE":  # there the ARN, on EC2 what the agent was configured with
        cluster = f"arn:aws:ecs:{task.region}:{task.account}:cluster/{task.cluster}"
    document: dict[str, Any] = {
        "Cluster": cluster,
        "TaskARN": task.arn,
        "Family": task.family,
        "Revision": str(task.revision),
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 1, "Memory": 2048},
        "PullStartedAt": "2026-01-01T00:00:00.123456789Z",
        "PullStoppedAt": "2026-01-01T00:00:01.123456789Z",
        "AvailabilityZone": f"{task.region}b",
        "LaunchType": task.launch_type,
        "Containers": [_container(task, container)],
        "VPCID": "vpc-0123456789abcdef0",
    }
    if task.service:
        document["ServiceName"] = task.service
    if task.launch_type == "FARGATE":
        document["ClockDrift"] = {
            "ClockErrorBound": 0.5,
            "ReferenceTimestamp": "2026-01-01T00:00:00Z",
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        }
        document["EphemeralStorageMetrics"] = {"Utilized": 261, "Reserved": 20496}
    return {**document, "FaultInjectionEnabled": False}


_ROUTES: list[tuple[re.Pattern[str], tuple[str, ...], Callable[..., Awaitable[web.Response]]]] = [
    (re.compile("/v1/credentials"), (), Agent._credentials_v1),
    (re.compile("/v2/credentials/(.*)"), (), Agent._credentials_v2),
    (re.compile("/v4/([^/]*)"), (), Agent._container),
    (re.compile("/v4/([^/]*)/task"), (), Agent._task),
    (re.compile("/v4/([^/]*)/taskWithTags"), (), Agent._task),
    (re.compile("/api/([^/]*)/task-protection/v1/state"), ("GET", "PUT"), Agent._state),
]


# --- the control plane --------------------------------------------------------------------------


async def _set_credentials(agent: Agent, request: web.BaseRequest) -> web.Response:
    wanted = await request.json()
    agent.lifetime = float(wanted.get("lifetime", agent.lifetime))
    if "lifetime" in wanted:
        await agent.rotate()
    return _mode(agent.credentials, CREDENTIALS, wanted)


async def _set_protection(agent: Agent, request: web.BaseRequest) -> web.Response:
    return _mode(agent.protection, PROTECTION, await request.json())


def _mode(mode: Mode, names: tuple[str, ...], wanted: dict[str, Any]) -> web.Response:
    name = wanted.get("mode", "ready")
    if name not in names:
        return web.Response(status=400, text=f"mode is one of {', '.join(names)}\n")
    mode.name, mode.times = name, wanted.get("times")
    return web.Response(status=204)


async def _get_protection(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return _json(200, agent.protection_now())


async def _get_environment(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return _json(200, agent.environment)


async def _get_requests(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return _json(200, [asdict(seen) for seen in agent.requests])


_CONTROL: dict[tuple[str, str], Callable[[Agent, web.BaseRequest], Awaitable[web.Response]]] = {
    ("PUT", "/_local/credentials"): _set_credentials,
    ("PUT", "/_local/protection"): _set_protection,
    ("GET", "/_local/protection"): _get_protection,
    ("GET", "/_local/environment"): _get_environment,
    ("GET", "/_local/requests"): _get_requests,
}


# --- serving ------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task: Task | None = None,
    aws_endpoint: str | None = None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Agent]:
    """Serve one task's agent; `now` is the wall clock, `clock` is that of the rate limit."""
    agent = Agent(task or Task(), aws_endpoint, now, clock)
    await agent.rotate()
    server = web.Server(agent.answer, handler_cancellation=True, access_log=None)
    # Not 0, which aiohttp takes for "wait for ever".
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        agent.url = f"http://{host}:{runner.addresses[0][1]}"
        yield agent
    finally:
        await runner.cleanup()


async def _main(host: str, port: int, task: Task, aws_endpoint: str | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(host, port, task=task, aws_endpoint=aws_endpoint) as agent:
        print(f"ready {agent.url}", flush=True)
        await stopped.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.ecs_agent",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port to listen on")
    parser.add_argument("--aws-endpoint", help="URL of an STS that gives the credentials")
    parser.add_argument("--role-arn", default=aws.TASK_ROLE, help="the task role")
    parser.add_argument("--launch-type", default="EC2", choices=("EC2", "FARGATE"))
    parser.add_argument("--network-mode", default="awsvpc", choices=("awsvpc", "bridge", "host"))
    parser.add_argument("--run-task", action="store_true", help="the task is of no service")
    args = parser.parse_args()
    host, _, port = args.address.rpartition(":")
    task = Task(
        role=args.role_arn,
        launch_type=args.launch_type,
        network_mode=args.network_mode,
        service=None if args.run_task else Task.service,
    )
    asyncio.run(_main(host, int(port), task, args.aws_endpoint))


if __name__ == "__main__":
    main()
