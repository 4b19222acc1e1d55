"""Do what GitHub's inner services have in common: find out who calls, and word errors."""

from aiohttp import web

from local.github.answers import Refusal
from local.github.callers import bearer
from local.github.runners import Runner
from local.github.tokens import Token
from local.github.world import World

BROKER, RUN, RESULTS = "actions-broker-listener", "actions-run-service", "actions-results-service"


class ServiceError(Refusal):
    """An error of the service behind GitHub (`typeKey`, `message`)."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        spaces = "GitHub.DistributedTask.WebApi"
        body = {
            "$id": "1",
            "innerException": None,
            "message": message,
            "typeName": f"{spaces}.{kind}, {spaces}",
            "typeKey": kind,
            "errorCode": 0,
            "eventId": 3000,
        }
        super().__init__(status, message, body)


class BrokerError(Refusal):
    """An error of the broker (`errorKind`) or, without a kind, of the run service."""

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        body = {"source": BROKER if kind else RUN, "statusCode": status, "errorMessage": message}
        super().__init__(status, message, {**body, "errorKind": kind} if kind else body)


def origin(request: web.Request) -> str:
    """Give this site's URL as the caller knows it."""
    return str(request.url.origin())


def find_token(request: web.Request, world: World, *kinds: str) -> Token:
    """Give the caller's token, if it is of one of `kinds`; else refuse with 401."""
    token = world.tokens.valid(bearer(request), world.now(), *kinds)
    if token is None or token.scope is None:
        raise Refusal(401, "TF400813: The user is not authorized to access this resource.")
    return token


def own_runner(request: web.Request, world: World) -> tuple[Token, Runner]:
    """Give the runner that calls; 401 once its registration is gone."""
    token = find_token(request, world, "runner")
    runner = world.runners.get(token.runner_id)
    if runner is None:
        raise Refusal(401, "TF400813: The user is not authorized to access this resource.")
    return token, runner
