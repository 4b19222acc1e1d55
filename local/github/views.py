"""The state as the control plane shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.github.jobs import Job
    from local.github.runners import Runner
    from local.github.world import World


def job(each: Job) -> dict[str, Any]:
    """Show one job."""
    return {
        "id": each.id,
        "run_id": each.run.id,
        "run_attempt": each.attempt,
        "name": each.name,
        "state": each.state,
        "result": each.result,
        "labels": each.labels,
        "repository": each.repository,
        "runner": each.runner_name,
        "runner_id": each.runner_id,
        "cancel_requested": each.cancel_requested,
        "queued_at": each.queued_at,
        "started_at": each.started_at,
        "completed_at": each.completed_at,
        "steps": [
            {
                "name": step.name,
                "if": step.condition,
                "state": step.state,
                "result": step.result,
                "log": step.log,
            }
            for step in each.steps
        ],
        "runner_logs": dict(each.runner_logs),
    }


def runner(world: World, each: Runner) -> dict[str, Any]:
    """Show one registration."""
    sessions = [own for own in world.sessions.values() if own.runner_id == each.id]
    return {
        "id": each.id,
        "name": each.name,
        "scope": each.scope.path,
        "labels": [label.name for label in each.labels],
        "group_id": each.group_id,
        "ephemeral": each.ephemeral,
        "jit": each.jit,
        "version": each.version,
        "status": "online" if world.online(each) else "offline",
        "busy": each.busy,
        "visible": world.visible(each),
        "listening": any(own.polls for own in sessions),
        "sessions": len(sessions),
        "job": each.job_id or None,
    }


def world(all_of_it: World) -> dict[str, Any]:
    """Show everything but the tokens' values."""
    now = all_of_it.now()
    return {
        "runners": [runner(all_of_it, each) for each in all_of_it.runners],
        "removed": [
            {"id": each.id, "name": each.name, "by": each.by} for each in all_of_it.runners.removed
        ],
        "sessions": [asdict(each) for each in all_of_it.sessions.values()],
        "jobs": [job(each) for each in all_of_it.jobs],
        "tokens": [
            {
                "kind": token.kind,
                "scope": token.scope.path if token.scope else None,
                "expires_in": round(token.expires_at - now, 3),
                "used": token.used,
                "ends_with": token.value[-4:],
            }
            for token in all_of_it.tokens
            if token.expires_at > now
        ],
        "calls": dict(all_of_it.calls),
        "settings": asdict(all_of_it.settings),
    }
