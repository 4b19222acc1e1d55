"""The tokens of runners: a signed assertion is traded for a bearer token."""

from collections.abc import Iterator
from datetime import UTC, datetime

from aiohttp import web

from local.github import signatures
from local.github.answers import Handler, answer
from local.github.runners import Runner
from local.github.services import origin
from local.github.world import World

_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SKEW = 300


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give the one call."""
    yield "POST", "/oauth/token", "runner-oauth", _token


def _refuse(error: str, text: str) -> web.Response:
    return answer({"error": error, "error_description": text}, 400)


async def _token(request: web.Request, world: World) -> web.Response:
    form = await request.post()
    wanted = ("client_credentials", _KIND)
    if (form.get("grant_type"), form.get("client_assertion_type")) != wanted:
        return _refuse("unsupported_grant_type", "The grant type is not supported.")
    assertion = str(form.get("client_assertion", ""))
    try:
        claims = signatures.claims(assertion)
        begins, ends = float(claims["nbf"]), float(claims["exp"])
    except (signatures.WrongAssertionError, KeyError, TypeError, ValueError) as error:
        return _refuse("invalid_request", f"The client assertion is wrong: {error}")
    runner = _client(world, str(claims.get("sub")))
    if runner is None or claims.get("iss") != runner.client_id:
        return _refuse("invalid_client", "No such client.")
    if claims.get("aud") != f"{origin(request)}/oauth/token":
        return _refuse("invalid_request", "The client assertion is for somebody else.")
    if not signatures.verify(assertion, runner.modulus, runner.exponent):
        return _refuse("invalid_client", "The client assertion's signature is wrong.")
    now = world.now()
    if begins > now + _SKEW or ends < now - _SKEW or ends < begins:
        server = datetime.fromtimestamp(now, UTC).strftime("%m/%d/%Y %H:%M:%S")
        text = f"The client assertion's lifetime is wrong. Current server time is {server}."
        return _refuse("invalid_request", text)
    token = world.mint("runner", runner.scope, 3600)
    token.runner_id = runner.id
    return answer({"access_token": token.value, "token_type": "bearer", "expires_in": 3600})


def _client(world: World, client_id: str) -> Runner | None:
    for runner in world.runners:
        if runner.client_id == client_id:
            return runner
    return None
