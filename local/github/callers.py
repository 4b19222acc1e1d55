"""Find out who calls, and what they may: personal tokens, installation tokens, Apps."""

from aiohttp import web

from local.github.answers import RATE, Refusal
from local.github.apps import App, NotAnAppError
from local.github.scope import Scope
from local.github.tokens import Token
from local.github.world import World

NOT_ACCESSIBLE = "Resource not accessible by integration"


def bearer(request: web.Request) -> str:
    """Give the token of the Authorization header, however it is written; "" without one."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        return _basic(value)
    return value.strip() if kind.lower() in ("bearer", "token") else ""


def _basic(value: str) -> str:
    import base64
    import binascii

    try:
        return base64.b64decode(value).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def find_caller(
    request: web.Request,
    world: World,
    scope: Scope,
    *,
    write: bool = True,
    permission: str = "",
) -> Token:
    """Give the caller's token if it may do this at `scope`; else refuse as GitHub does.

    401 for no or bad credentials; 404 where the caller may not even know of the scope; 403 where
    an installation lacks the permission, which is that for runners unless `permission` names one.
    """
    count_request(request, world)
    value = bearer(request)
    if not value:
        raise Refusal(401, "Requires authentication")
    token = world.tokens.valid(value, world.now(), "pat", "installation")
    if token is None:
        raise Refusal(401, "Bad credentials")
    if token.kind == "installation":
        _installation_allows(world, token, scope, permission, write=write)
    elif not token.reaches(scope) or token.permission == "none":
        raise Refusal(404, "Not Found")
    elif write and token.permission == "read":
        raise Refusal(403, "Must have admin rights to Repository.")
    return token


def remote(request: web.Request, world: World, scope: Scope, *, remove: bool = False) -> Token:
    """Give the registration token that is the caller's (`RemoteAuth`); else refuse with 404.

    The same token removes a runner; a remove token does nothing else.
    """
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    kinds = ("registration", "remove") if remove else ("registration",)
    token = world.tokens.valid(value.strip(), world.now(), *kinds)
    if kind != "RemoteAuth" or token is None or token.scope is None:
        raise Refusal(404, "Not Found")
    if token.scope.key != scope.key:
        raise Refusal(404, "Not Found")
    return token


def is_remote(request: web.Request) -> bool:
    """Whether the caller shows a registration or remove token."""
    return request.headers.get("Authorization", "").startswith("RemoteAuth ")


def _installation_allows(
    world: World, token: Token, scope: Scope, permission: str, *, write: bool
) -> None:
    if scope.kind == "enterprises":
        raise Refusal(403, NOT_ACCESSIBLE)
    installations = {each.id: each for app in world.apps for each in app.installations}
    installation = installations.get(token.installation_id)
    if installation is None:
        raise Refusal(401, "Bad credentials")
    if not installation.covers(scope):
        raise Refusal(404, "Not Found")
    wanted = "administration" if scope.kind == "repos" else "organization_self_hosted_runners"
    given = token.permissions.get(permission or wanted)
    if given is None or (write and given == "read"):
        raise Refusal(403, NOT_ACCESSIBLE)


def app(request: web.Request, world: World) -> App:
    """Give the App that calls with its JWT; else 401."""
    count_request(request, world)
    value = bearer(request)
    if not value:
        raise Refusal(401, "A JSON web token could not be decoded")
    try:
        return world.apps.verify_token(value, world.now())
    except NotAnAppError as error:
        raise Refusal(401, str(error)) from error


def count_request(request: web.Request, world: World) -> None:
    """Count the call against the rate limit; 403 once that is used up."""
    settings, now = world.settings, world.now()
    if world.rate_reset_at <= now:
        if world.rate_reset_at:
            settings.rate_remaining = settings.rate_limit
        world.rate_reset_at = now + settings.rate_reset_in
    exceeded = settings.rate_remaining <= 0
    settings.rate_remaining = max(0, settings.rate_remaining - 1)
    request[RATE] = rate_headers(world)
    if exceeded:
        raise Refusal(403, "API rate limit exceeded for installation.")


def rate_headers(world: World) -> dict[str, str]:
    """Give the headers that tell how much of the limit is left."""
    settings = world.settings
    return {
        "x-ratelimit-limit": str(settings.rate_limit),
        "x-ratelimit-remaining": str(settings.rate_remaining),
        "x-ratelimit-used": str(settings.rate_limit - settings.rate_remaining),
        "x-ratelimit-reset": str(int(world.rate_reset_at)),
        "x-ratelimit-resource": "core",
    }
