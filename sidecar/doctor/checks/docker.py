"""Check the docker daemon: its version, its socket, where it lives, and the agent's proxy to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.docker.engine import EngineError
from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.lifecycle.job_docker import ProxyUnavailable, choose_place, find_engine
from sidecar.relay.mode import DaemonLocation

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask the daemon for its version, and see how jobs would reach it."""
    if setup.engine is None:
        return [_judge_absence(setup)]
    location, evidence = await setup.daemon()
    try:
        version = (await setup.engine.get("/version"))["Version"]
    except (EngineError, KeyError, TypeError) as error:
        if setup.engine.socket is None and setup.engine.pipe is None:
            text = f"DOCKER_HOST={setup.engine.host} is not asked: it may need a certificate"
            return [ok(text), *await _check_proxy(setup)]
        text = f"the docker daemon does not answer: {error}"
        change = "start it before the agent, let the agent's user use it, or correct DOCKER_HOST"
        return [failed(text, change)]
    found = [ok(f"docker {version} at {setup.engine.host}, {location}: {evidence}")]
    if location is DaemonLocation.ELSEWHERE and setup.settings.shared_dir is None:
        text = "the daemon does not see the runner's folders: jobs in containers fail"
        change = "share a folder between both at one path, and name it (SIDECAR_SHARED_DIR)"
        found.append(warning(text, change))
    return [*found, *await _check_proxy(setup)]


def _judge_absence(setup: Setup) -> Finding:
    text = f"nothing names a docker daemon (DOCKER_HOST, {host.DOCKER_PLACE})"
    if setup.variables.get("ENTRYPOINT_DOCKERD") == "true":
        text = "the image starts its docker daemon for `run` alone (ENTRYPOINT_DOCKERD=true)"
        return unknown(text, "examine it beside a running agent (ECS Exec)")
    if setup.settings.docker_proxy == "on":
        return failed(text, "set DOCKER_HOST, start the daemon first, or SIDECAR_DOCKER_PROXY=auto")
    return ok(f"{text}: jobs have none")


async def _check_proxy(setup: Setup) -> list[Finding]:
    """Say whether jobs use the daemon through the agent's proxy."""
    settings, config = setup.settings, setup.config
    if settings.docker_proxy == "off":
        text = "jobs use the daemon without the agent's proxy: SIDECAR_DOCKER_PROXY=off"
        return [ok(text)]
    try:
        _, socket = find_engine(config)
        choose_place(config, socket)
    except ProxyUnavailable as error:
        text = f"jobs use the daemon without the agent's proxy: {error}"
        if settings.docker_proxy == "on" or settings.docker_strict:
            change = "change what stands in brackets; a life ends with exit code 14"
            return [failed(text, change)]
        return [warning(text, "change that, or say that you want it (SIDECAR_DOCKER_PROXY=off)")]
    if await asyncio.to_thread(_is_open, socket, config.user):
        text = f"the runner's user may use the daemon's own socket {socket}, past the agent's proxy"
        return [warning(text, "let only root use it (dockerd --group root)")]
    return [ok("jobs use the daemon through the agent's proxy")]


def _is_open(socket: Path, user: host.User | None) -> bool:
    try:
        return host.may_connect(socket, user)
    except OSError:
        return False
