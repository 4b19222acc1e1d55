"""Serve health and metrics: to the container's healthCheck, to monitoring and to people."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.net import http_server
from sidecar.net.file_budget import count_connections, divide_files
from sidecar.status import metrics
from sidecar.status.report import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.values import Address

log = structlog.get_logger()


class HealthHandler:
    """Answers `/healthz`, `/readyz` and `/metrics` from a report."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def answer(self, request: http_server.Request) -> http_server.Answer:
        """Answer one request; nothing is waited for."""
        if request.method not in ("GET", "HEAD"):
            return http_server.Answer(405, b"only GET\n", headers=(("Allow", "GET, HEAD"),))
        match request.target.partition("?")[0]:
            case "/healthz":
                return self._json(200)
            case "/readyz":
                return self._json(200 if self._report.ready else 503)
            case "/metrics":
                accept = request.headers.get("accept", "")
                return http_server.Answer(200, *metrics.write_metrics(self._report, accept))
            case _:
                return http_server.Answer(404, b"try /healthz, /readyz or /metrics\n")

    def _json(self, status: int) -> http_server.Answer:
        report = self._report
        body: dict[str, object] = {
            "phase": report.phase.name,
            "phase_seconds": round(report.phase.age, 1),
            "life_seconds": round(report.phase.life, 1),
            "ready": report.ready,
        }
        if report.relay is not None:
            body["relay"] = report.relay.state._asdict()
        return http_server.Answer(status, json.dumps(body).encode() + b"\n", "application/json")


@asynccontextmanager
async def serve_health(
    address: Address | None, report: Report | None = None
) -> AsyncIterator[Report]:
    """Serve health and metrics at `address` within the block, from `report`; None serves nothing.

    `/healthz` answers 200 from the start: a long wait for a token must not get the task replaced.
    Raises SettingsError if the address cannot be listened at.
    """
    report = report or Report()
    if address is None:
        yield report
        return
    async with AsyncExitStack() as serving:
        try:
            bound = await serving.enter_async_context(
                http_server.listening(
                    address.host, address.port, HealthHandler(report).answer, limits=_limits()
                )
            )
        except OSError as error:
            message = (
                f"SIDECAR_HEALTH_ADDRESS {address} cannot be listened at: "
                f"{error.strerror or error} "
                "(example: SIDECAR_HEALTH_ADDRESS=127.0.0.1:9191, or off)"
            )
            raise SettingsError(message) from error
        log.info("health.started", host=bound[0], port=bound[1])
        yield report  # outside the try: an OSError of the life is no fault of the address


def _limits() -> http_server.Limits:
    """Return the limits that this listener's share of the open files allows.

    Every request is answered at once, so a full listener closes its oldest connection for a new
    one: who asks for the agent's health gets an answer, however many connections a job holds.
    """
    served, waiting = count_connections(divide_files(host.max_open_files()).health)
    return http_server.Limits(connections=served, backlog=waiting, grace_seconds=0.0)
