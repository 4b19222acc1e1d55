"""Serve health and metrics: to the container's healthCheck, to monitoring and to people."""

from __future__ import annotations

import errno
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.net import http_server
from sidecar.net.file_budget import count_connections, divide_files
from sidecar.settings import HEALTH_FILE
from sidecar.status import metrics
from sidecar.status.report import Report
from sidecar.values import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

log = structlog.get_logger()


class HealthHandler:
    """Answers `/healthz`, `/readyz`, `/metrics` and `/containers` from a report."""

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
            case "/containers":
                return self._containers()
            case "/metrics":
                accept = request.headers.get("accept", "")
                return http_server.Answer(200, *metrics.write_metrics(self._report, accept))
            case _:
                return http_server.Answer(404, b"try /healthz, /readyz or /metrics\n")

    def _containers(self) -> http_server.Answer:
        """Say which credentials the job and its containers have; a job may see it."""
        relay = self._report.relay
        identities = relay.identities if relay is not None else None
        body = {
            "job": identities.job if identities is not None else None,
            "rule": identities.default.rule if identities is not None else None,
            "containers": identities.describe() if identities is not None else [],
        }
        return http_server.Answer(200, json.dumps(body).encode() + b"\n", "application/json")

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
    address: Address | None, report: Report | None = None, folder: Path | None = None
) -> AsyncIterator[Report]:
    """Serve health and metrics at `address` within the block, from `report`; None serves nothing.

    `/healthz` answers 200 from the start: a long wait for a token must not get the task replaced.
    Where the port is another program's, as that of a second task with network mode host is, a free
    one is taken, and a file in `folder` says which. Raises SettingsError if the address cannot be
    listened at.
    """
    report = report or Report()
    if address is None:
        yield report
        return
    async with AsyncExitStack() as serving:
        _forget_move(folder)
        try:
            bound = await serving.enter_async_context(_listen(address, report))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _refuse(address, error) from error
            free = Address(address.host, 0)
            try:
                bound = await serving.enter_async_context(_listen(free, report))
            except OSError as second:
                raise _refuse(address, second) from second
            serving.callback(_forget_move, folder)
            _write_move(address, Address(*bound), folder)
        log.info("health.started", host=bound[0], port=bound[1])
        yield report  # outside the try: an OSError of the life is no fault of the address


def _listen(address: Address, report: Report) -> AbstractAsyncContextManager[tuple[str, int]]:
    return http_server.listening(
        address.host, address.port, HealthHandler(report).answer, limits=_limits()
    )


def _refuse(address: Address, error: OSError) -> SettingsError:
    return SettingsError(
        f"SIDECAR_HEALTH_ADDRESS {address} cannot be listened at: {error.strerror or error} "
        "(example: SIDECAR_HEALTH_ADDRESS=127.0.0.1:9191, or off)"
    )


def _write_move(wanted: Address, taken: Address, folder: Path | None) -> None:
    """Write for the health check where the agent answers, and say so."""
    reason = "another program listens there"
    try:
        if folder is not None:
            host.write_new(folder / HEALTH_FILE, f"{taken}\n".encode(), 0o644, None)
    except OSError as error:
        reason += f"; the health check will not know: {error.strerror or error}"
    log.warning("health.moved", wanted=str(wanted), address=str(taken), reason=reason)


def _forget_move(folder: Path | None) -> None:
    """Remove what an earlier life wrote, or this one: its address is not the agent's any more."""
    if folder is not None:
        with suppress(OSError):
            host.remove_entry(folder / HEALTH_FILE)


def _limits() -> http_server.Limits:
    """Return the limits that this listener's share of the open files allows.

    Every request is answered at once, so a full listener closes its oldest connection for a new
    one: who asks for the agent's health gets an answer, however many connections a job holds.
    """
    served, waiting = count_connections(divide_files(host.max_open_files()).health)
    return http_server.Limits(connections=served, backlog=waiting, grace_seconds=0.0)
