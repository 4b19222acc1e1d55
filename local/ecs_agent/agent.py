"""Answer as the ECS agent does: which requests, in which order it checks them, in which words."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local import aws
from local.ecs_agent.answers import (
    answer_json,
    moment,
    read_protection_request,
    refuse_credentials,
    refuse_protection,
    throttle,
    wait_for_ever,
)
from local.ecs_agent.control import CONTROL
from local.ecs_agent.metadata import describe_container, describe_stats, describe_task
from local.ecs_agent.modes import Buckets, Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.ecs_agent.task import Task


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
        self._born = time.monotonic()
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
        """The variables that ECS would set; with a full URI, as its address is another here."""
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
                "Expiration": moment(self._expires),
            }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if control := CONTROL.get((request.method, request.path)):
            return await control(self, request)
        peer = request.remote or ""
        seen = Seen(time.time(), request.method, request.raw_path, peer)
        self.requests.append(seen)
        if self._buckets.refuses(peer, request.path):
            response = throttle(peer)
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
            return refuse_credentials(
                version, 400, "NoIdInRequest", "No Credential ID in the request"
            )
        mode = self.credentials.take() if asked == self.credentials_id else "unknown"
        if mode == "hang":
            await wait_for_ever()
        if mode == "throttled":
            return throttle("")
        if mode in _CREDENTIAL_ERRORS:
            return refuse_credentials(version, *_CREDENTIAL_ERRORS[mode])
        # The backend sends new ones long before the old ones end.
        if self._expires - self._now() < min(3600, self.lifetime / 2):
            await self.rotate()
        held = dict(self._held)
        if mode == "expired":
            held["Expiration"] = moment(self._now() - 60)
        return answer_json(200, held)

    async def _container(self, _request: web.BaseRequest, asked: str) -> web.Response:
        if asked != self.container_id:
            return _refuse_endpoint("V4 container", "container ID", "docker ID", asked)
        return answer_json(200, describe_container(self.task, self.container_id))

    async def _task(self, _request: web.BaseRequest, asked: str) -> web.Response:
        if asked != self.container_id:
            return _refuse_endpoint("V4 task", "task arn", "task Arn", asked)
        return answer_json(200, describe_task(self.task, self.container_id))

    async def _stats(self, _request: web.BaseRequest, asked: str) -> web.Response:
        if asked != self.container_id:
            return _refuse_endpoint("V4 task stats", "task arn", "task Arn", asked)
        key = self.container_id if self.task.launch_type == "FARGATE" else self.task.id * 2
        uptime = time.monotonic() - self._born
        stats = describe_stats(uptime, self.task.cpus_used)
        return answer_json(200, {key: stats, "not-started": None})

    async def _state(self, request: web.BaseRequest, asked: str) -> web.Response:
        """Answer a task protection request, in the agent's order of checks."""
        wanted: dict[str, Any] = {}
        if request.method == "PUT":
            try:
                wanted = read_protection_request(await request.read())
            except ValueError:
                return refuse_protection(
                    400,
                    "InvalidParameterException",
                    "UpdateTaskProtection: failed to decode request",
                )
        if asked != self.container_id:
            return refuse_protection(
                404, "ResourceNotFoundException", "Failed to find a task for the request"
            )
        if request.method == "PUT" and wanted.get("ProtectionEnabled") is None:
            return refuse_protection(
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
            await wait_for_ever()
        if mode == "not-a-service" or (mode == "ready" and self.task.service is None):
            failure = {"Arn": self.task.arn, "Detail": None, "Reason": "TASK_NOT_VALID"}
            return answer_json(200, {"failure": failure})
        if mode == "denied":
            why = f"User: {self.task.role} is not authorized to perform: ecs:{operation}"
            return self._ecs_error("AccessDeniedException", why)
        if mode == "throttled":
            return self._ecs_error("ThrottlingException", "Rate exceeded")
        if mode in _PROTECTION_ERRORS:
            return refuse_protection(*_PROTECTION_ERRORS[mode], arn=self.task.arn)
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
        return answer_json(200, {"protection": self.protection_now()})

    def protection_now(self) -> dict[str, Any]:
        """Return whether the task is protected, as ECS would."""
        if self.protected_until is not None and self.protected_until <= self._now():
            self.protected_until = None
        until = None if self.protected_until is None else moment(self.protected_until)
        return {
            "ExpirationDate": until,
            "ProtectionEnabled": until is not None,
            "TaskArn": self.task.arn,
        }

    def _ecs_error(self, code: str, message: str) -> web.Response:
        return refuse_protection(
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


_ROUTES: list[tuple[re.Pattern[str], tuple[str, ...], Callable[..., Awaitable[web.Response]]]] = [
    (re.compile("/v1/credentials"), (), Agent._credentials_v1),
    (re.compile("/v2/credentials/(.*)"), (), Agent._credentials_v2),
    (re.compile("/v4/([^/]*)"), (), Agent._container),
    (re.compile("/v4/([^/]*)/task"), (), Agent._task),
    (re.compile("/v4/([^/]*)/taskWithTags"), (), Agent._task),
    (re.compile("/v4/([^/]*)/task/stats"), (), Agent._stats),
    (re.compile("/api/([^/]*)/task-protection/v1/state"), ("GET", "PUT"), Agent._state),
]


def _refuse_endpoint(handler: str, wanted: str, missing: str, asked: str) -> web.Response:
    """Answer that no container has this endpoint id, in the agent's own words."""
    reason = f"unable to get {wanted} from request: unable to get {missing}"
    return answer_json(404, f"{handler} metadata handler: {reason} from v3 endpoint ID: {asked}")
