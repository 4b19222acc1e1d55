"""The tenant flow: the exchange of a token, then pools and agents of the service behind GitHub.

`actions/runner` calls it for configure and remove (`ConfigurationManager`, `RunnerServer`).
"""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from local.github import files
from local.github.answers import Handler, Refusal, answer, nothing, posted
from local.github.runners import NameTakenError, Runner, StillBusyError
from local.github.scope import NoScopeError, Scope
from local.github.services import ServiceError, find_token, origin
from local.github.tokens import Token
from local.github.world import World

AREA = "distributedtask"
RESOURCES = {
    "a8c47e17-4d56-4a56-92bb-de7ea7dc65be": ("pools", "_apis/{area}/{resource}/{poolId}"),
    "e298ef32-5878-4cab-993c-043836571f42": (
        "agents",
        "_apis/{area}/pools/{poolId}/{resource}/{agentId}",
    ),
}


def registration_routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give the one call that stands under the API's prefix."""
    yield "POST", "/actions/runner-registration", "runner-registration", _exchange


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give the calls behind it."""
    base = "/_services/pipelines/{tenant}/_apis"
    yield "GET", f"{base}/connectionData", "runner-connection", _connection
    yield "OPTIONS", f"{base}/", "runner-options", _options
    pool = f"{base}/{AREA}/pools/{{pool:\\d+}}"
    yield "GET", f"{base}/{AREA}/pools", "runner-pools", _pools
    yield "GET", f"{pool}/agents", "runner-agents", _agents
    yield "POST", f"{pool}/agents", "runner-add", _add
    yield "GET", f"{pool}/agents/{{id:\\d+}}", "runner-agent", _agent_by_id
    yield "PUT", f"{pool}/agents/{{id:\\d+}}", "runner-replace", _replace
    yield "DELETE", f"{pool}/agents/{{id:\\d+}}", "runner-delete", _delete


async def _exchange(request: web.Request, world: World) -> web.Response:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    body = await posted(request)
    event = body.get("runner_event")
    kinds = {"register": ("registration",), "remove": ("remove", "registration")}
    try:
        scope = Scope.of_url(str(body.get("url", "")))
    except NoScopeError:
        raise Refusal(404, "Not Found") from None
    found = None
    if kind == "RemoteAuth" and event in kinds:
        found = world.tokens.valid(value, world.now(), *kinds[event])
    if found is None or found.scope is None or found.scope.key != scope.key:
        raise Refusal(404, "Not Found")
    return answer(
        {
            "url": files.tenant(scope.key, origin(request)),
            "token_schema": "OAuthAccessToken",
            "token": world.mint("tenant", scope, 3600).value,
            "use_v2_flow": world.settings.admin_flow,
        }
    )


async def _connection(request: web.Request, world: World) -> web.Response:
    """Answer where the services are, or that what the caller has cached still holds."""
    fresh = request.query.get("lastChangeId") == "1" and world.settings.locations_fresh
    base = files.tenant_of_name(request.match_info["tenant"], origin(request))
    mapping = {
        "displayName": "Host Guid Access Mapping",
        "moniker": "HostGuidAccessMapping",
        "accessPoint": base,
        "serviceOwner": "00000000-0000-0000-0000-000000000000",
        "virtualDirectory": "",
    }
    located = {
        "serviceOwner": "00000000-0000-0000-0000-000000000000",
        "defaultAccessMappingMoniker": mapping["moniker"],
        "lastChangeId": 1,
        "lastChangeId64": 1,
        "clientCacheFresh": fresh,
        "clientCacheTimeToLive": 3600,
        "accessMappings": [mapping],
        "serviceDefinitions": [],
    }
    identity = {"id": "00000000-0000-0000-0000-000000000001", "isActive": True}
    body = {
        "authenticatedUser": identity,
        "authorizedUser": identity,
        "instanceId": "00000000-0000-0000-0000-000000000002",
        "deploymentType": "hosted",
        "locationServiceData": located,
    }
    return answer(body)


async def _options(_request: web.Request, _world: World) -> web.Response:
    versions = {"minVersion": "1.0", "maxVersion": "6.0", "releasedVersion": "6.0"}
    known = [
        {
            "id": key,
            "area": AREA,
            "resourceName": name,
            "routeTemplate": template,
            "resourceVersion": 1,
            **versions,
        }
        for key, (name, template) in RESOURCES.items()
    ]
    return answer({"count": len(known), "value": known})


def _scope(token: Token) -> Scope:
    if token.scope is None:
        raise Refusal(401, "TF400813: The user is not authorized to access this resource.")
    return token.scope


async def _pools(request: web.Request, world: World) -> web.Response:
    find_token(request, world, "tenant")
    pools = [
        {"id": number, "name": name, "isInternal": number == 1, "isHosted": False, "size": 0}
        for number, name in enumerate(world.settings.runner_groups, 1)
    ]
    return answer({"count": len(pools), "value": pools})


async def _agents(request: web.Request, world: World) -> web.Response:
    token = find_token(request, world, "tenant")
    runner = world.runners.find(_scope(token), request.query.get("agentName", ""))
    found = [] if runner is None else [describe(runner, origin(request))]
    return answer({"count": len(found), "value": found})


async def _agent_by_id(request: web.Request, world: World) -> web.Response:
    token = find_token(request, world, "tenant")
    return answer(describe(_named_in_path(request, world, token), origin(request)))


def describe(runner: Runner, site: str) -> dict[str, Any]:
    """Describe a runner as the service does."""
    kinds = {"read-only": "system", "custom": "user"}
    return {
        "labels": [
            {"id": label.id, "name": label.name, "type": kinds[label.kind]}
            for label in runner.labels
        ],
        "maxParallelism": 1,
        "createdOn": "2026-01-01T00:00:00Z",
        "authorization": {
            "authorizationUrl": f"{site}/oauth/token",
            "clientId": runner.client_id,
            "publicKey": {"exponent": runner.exponent, "modulus": runner.modulus},
        },
        "properties": {
            "ServerUrl": {"$type": "System.String", "$value": files.tenant(runner.scope.key, site)},
            "ServerUrlV2": {"$type": "System.String", "$value": f"{site}/broker/"},
            "UseV2Flow": {"$type": "System.Boolean", "$value": True},
        },
        "id": runner.id,
        "name": runner.name,
        "version": runner.version,
        "osDescription": runner.operating_system,
        "ephemeral": runner.ephemeral,
        "disableUpdate": runner.disable_update,
        "status": "offline",
        "provisioningState": "Provisioned",
        "enabled": True,
    }


async def _new_runner(request: web.Request, world: World, scope: Scope) -> Runner:
    body = await posted(request)
    version = str(body.get("version", ""))
    if version in world.settings.deprecated_versions and "register" in world.settings.deprecated_at:
        text = f"Runner version v{version} is deprecated and cannot receive messages."
        raise ServiceError(403, text, "AccessDeniedException")
    key = body["authorization"]["publicKey"]
    return Runner(
        id=0,
        name=str(body["name"]),
        scope=scope,
        labels=labels(world, body.get("labels") or []),
        ephemeral=bool(body.get("ephemeral")),
        visible_at=world.now() + world.settings.visible_after,
        modulus=str(key["modulus"]),
        exponent=str(key["exponent"]),
        group_id=int(request.match_info["pool"]),
        version=version,
        operating_system=str(body.get("osDescription", "linux")),
        disable_update=bool(body.get("disableUpdate")),
    )


def labels(world: World, wanted: list[dict[str, Any]]) -> list[Any]:
    """Make labels: those of the type `system` are the default ones."""
    found = []
    for each in wanted:
        kind = "read-only" if each.get("type") == "system" else "custom"
        found += world.runners.labels([str(each["name"])], kind)
    return found


async def _add(request: web.Request, world: World) -> web.Response:
    token = find_token(request, world, "tenant")
    runner = await _new_runner(request, world, _scope(token))
    if len(runner.name) > 64:
        message = f"The runner name {runner.name} exceeds 64 characters."
        raise ServiceError(400, message, "ArgumentException")
    try:
        world.runners.add(runner)
    except NameTakenError:
        message = f"The pool 1 already contains an agent with name {runner.name}."
        raise ServiceError(409, message, "TaskAgentExistsException") from None
    world.show_later(runner)
    return answer(describe(runner, origin(request)))


def _named_in_path(request: web.Request, world: World, token: Token) -> Runner:
    runner = world.runners.get(int(request.match_info["id"]))
    if runner is None or runner.scope.key != _scope(token).key:
        message = "The agent does not exist in the pool."
        raise ServiceError(404, message, "TaskAgentNotFoundException")
    return runner


def _still_busy(runner: Runner) -> Refusal:
    message = f'Runner "{runner.name}" is still running a job"'
    return ServiceError(400, message, "TaskAgentJobStillRunningException")


async def _replace(request: web.Request, world: World) -> web.Response:
    """Register anew in the place of another: its id stays, its key does not."""
    token = find_token(request, world, "tenant")
    old = _named_in_path(request, world, token)
    runner = await _new_runner(request, world, old.scope)
    runner.id = old.id
    try:
        world.runners.remove(old, "replaced")
    except StillBusyError:
        raise _still_busy(old) from None
    return answer(describe(world.runners.add(runner), origin(request)))


async def _delete(request: web.Request, world: World) -> web.Response:
    token = find_token(request, world, "tenant")
    runner = _named_in_path(request, world, token)
    try:
        world.runners.remove(runner, "remove")
    except StillBusyError:
        raise _still_busy(runner) from None
    return nothing()
