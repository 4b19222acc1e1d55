"""Answer a request of the API: who asks, may he, what is started. Read this first.

| request | answer |
|---|---|
| `GET /status` | `{"status": "ok"}` |
| `POST /start` | a runner is started, once for the same job and key |
| `POST /state` | how far it is |
| `POST /stop` | it is ended, unless it has a job |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from launcher.api import garo, native
from launcher.api.answers import Answer, Refused, make_error
from launcher.api.requests import read_fields
from launcher.errors import describe
from sidecar import github
from sidecar.aws import calls
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.api.native import Start
    from launcher.api.oidc import TokenVerifier
    from launcher.api.orders import Orders
    from launcher.api.proof import Proof
    from launcher.demand.delivery import Demand
    from launcher.record.launch import Launch
    from launcher.work import Resources

log = structlog.get_logger()

STATUS, START, STATE, STOP = "/status", "/start", "/state", "/stop"
METHODS = {STATUS: "GET", START: "POST", STATE: "POST", STOP: "POST"}
AGAIN = 5.0
"""Seconds until another try, where AWS or GitHub has not answered."""
NOT_KNOWN = "there is no such order of this caller"


class Api:
    """Answers requests."""

    def __init__(
        self, around: Resources, verifier: TokenVerifier, proof: Proof, orders: Orders
    ) -> None:
        self._around = around
        self._verifier = verifier
        self._proof = proof
        self._orders = orders

    async def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Answer one request. Header names are lower-case; `body` is what came, byte by byte."""
        if path not in METHODS:
            return make_error(404, "there is nothing here: see /start, /state, /stop, /status")
        if method != METHODS[path]:
            return make_error(405, f"send a {METHODS[path]}")
        if path == STATUS:
            return Answer(200, {"status": "ok"})
        try:
            return await self._answer(path, headers, body)
        except Refused as refused:
            if refused.answer.status == 403:
                log.warning("order.refused", path=path, reason=str(refused))
            return refused.answer
        except SidecarError as error:
            return _answer_error(path, error)

    async def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if garo.SIGNATURE in headers:
            return await self._answer_garo(path, headers, body)
        return await self._answer_native(path, headers, body)

    # -- the API's own contract ------------------------------------------------------------------

    async def _answer_native(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        who = await self._verifier.verify(headers.get("authorization", ""))
        fields = read_fields(headers, body)
        pools = self._around.pools()
        if path == START:
            start = native.read_start(fields, who, pools, self._around.deployment)
            if not start.dry_run and not await self._use_token(start, who.token, who.expires):
                raise Refused(409, "the token has begun another order: get a new one for each")
            await self._begin(start)
            return Answer(200, _describe_start(start))
        native.find_caller(pools, who)
        id_ = fields.text("id", native.ID)
        fields.finish()
        found = await self._orders.find(id_)
        if found is None or not native.is_owner(found[1], who):
            raise Refused(404, NOT_KNOWN)
        launch = await self._go_on(path, *found)
        return Answer(200, {"id": id_, **describe_launch(launch)})

    async def _use_token(self, start: Start, token: str, expires: float) -> bool:
        return await self._around.records.shown_tokens.use(token, start.id, expires)

    # -- GARO's ----------------------------------------------------------------------------------

    async def _answer_garo(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        fields, pools = read_fields(headers, body, forms=True), self._around.pools()
        signed = garo.read_signed(headers, body, fields, pools, self._around.now())
        deployment = self._around.deployment
        # Before GitHub is asked: a mistake in the body costs no call.
        named = garo.read_name(fields, signed, deployment) if path != START else None
        number = await self._proof.find_writable(signed.token, signed.repository)
        if named is None:
            start = garo.read_start(fields, signed, number, pools, deployment)
            await self._begin(start)
            return Answer(200, garo.make_start_answer(start))
        return await self._answer_named(path, *named, number)

    async def _answer_named(self, path: str, name: str, id_: str, repository: int) -> Answer:
        found = await self._orders.find(id_)
        if found is None or found[1].repository_id != repository:
            raise Refused(404, NOT_KNOWN)
        launch = await self._go_on(path, *found)
        pool = self._around.pools().by_name.get(launch.pool)
        life = pool.clocks.life if pool is not None else 0
        state = describe_launch(launch)["state"]
        answer = garo.make_state_answer(name, state, launch.place, launch.placed_at + life)
        return Answer(200, answer)

    # -- both ------------------------------------------------------------------------------------

    async def _begin(self, start: Start) -> None:
        if not start.dry_run:
            await self._orders.start(start.id, start.pool, start.demand)

    async def _go_on(self, path: str, launch: Launch, demand: Demand) -> Launch:
        if path == STATE:
            return await self._orders.look(launch, demand)
        launch = await self._orders.stop(launch, demand)
        log.info("order.stopped", launch=launch.id, repository=demand.repository)
        return launch


def _answer_error(path: str, error: SidecarError) -> Answer:
    """Answer what AWS or GitHub has not done; the log says more than a caller needs to know."""
    may_pass = isinstance(error, calls.TransientError | github.TransientError)
    say = log.warning if may_pass else log.error
    say("order.failed", path=path, reason=describe(error))
    if may_pass:
        return make_error(503, "AWS or GitHub does not answer: ask again", again_in=AGAIN)
    return make_error(502, "AWS or GitHub refuses: see the launcher's log")


def _describe_start(start: Start) -> dict[str, Any]:
    """Describe a start: the same each time that it is asked for."""
    found: dict[str, Any] = {
        "id": start.id,
        "pool": start.pool,
        "labels": list(start.demand.labels),
        "state": "starting",
    }
    return {**found, "dryrun": True} if start.dry_run else found


def describe_launch(launch: Launch) -> dict[str, Any]:
    """Describe an order as it is now."""
    found: dict[str, Any] = {"state": _find_state(launch)}
    if launch.runner_name is not None:
        found["runner"] = launch.runner_name
    if launch.reasons or launch.given_up:
        found["reason"] = launch.given_up or launch.reasons[-1]
    return found


def _find_state(launch: Launch) -> str:
    if launch.served:
        return "done"
    if launch.ended:
        return "ended"
    if launch.settled:
        return "stopping"
    if launch.online:
        return "online"
    return "starting" if launch.place is not None else "waiting"


__all__ = ["Api", "describe_launch"]
