"""The results service: what becomes of steps, and their logs, through signed URLs."""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from local.github.answers import Handler, Refusal, answer, nothing, posted
from local.github.jobs import Job, Step
from local.github.services import find_token, origin
from local.github.world import World

_RECEIVER = "/results/twirp/results.services.receiver.Receiver"
_STEPS = "/results/twirp/github.actions.results.api.v1.WorkflowStepUpdateService"
_STATES = {3: "running", 6: "completed"}
_RESULTS = {2: "succeeded", 3: "failed", 4: "canceled", 7: "skipped"}
_SECONDS = 3600


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give its calls."""
    yield "POST", f"{_STEPS}/WorkflowStepsUpdate", "results-steps", _update
    for what in ("StepLogs", "JobLogs", "StepSummary"):
        yield "POST", f"{_RECEIVER}/Get{what}SignedBlobURL", "results-url", _url
        yield "POST", f"{_RECEIVER}/Create{what}Metadata", "results-metadata", _metadata
    yield "PUT", "/results/blobs/{kind}/{job}/{step}", "results-upload", _put


async def _mine(request: web.Request, world: World) -> tuple[Job, dict[str, Any]]:
    token = find_token(request, world, "job")
    job, body = world.jobs.get(token.job_id), await posted(request)
    known = (body.get("workflow_run_backend_id"), body.get("workflow_job_run_backend_id"))
    if job is None or known != (job.plan, job.key):
        raise Refusal(404, "no such job")
    return job, body


async def _update(request: web.Request, world: World) -> web.Response:
    job, body = await _mine(request, world)
    for each in body["steps"]:
        step = job.step(str(each["external_id"]))
        if step is None:
            job.own_steps[str(each["external_id"])] = str(each["name"])
            continue
        step.state = _STATES.get(int(each["status"]), step.state)
        step.result = _RESULTS.get(int(each["conclusion"]), step.result)
    world.changes.ring()
    return answer({"ok": True})


def _signature(world: World, path: str, until: str) -> str:
    return hmac.new(world.secret, f"{path} {until}".encode(), hashlib.sha256).hexdigest()


async def _url(request: web.Request, world: World) -> web.Response:
    job, body = await _mine(request, world)
    kind = "summary" if "Summary" in request.path else "logs"
    path = f"/results/blobs/{kind}/{job.key}/{body.get('step_backend_id') or 'job'}"
    until = str(int(world.now()) + _SECONDS)
    query = f"se={until}&sig={_signature(world, path, until)}"
    more = {"blob_storage_type": "BLOB_STORAGE_TYPE_AZURE", "soft_size_limit": "1048576"}
    return answer({f"{kind}_url": f"{origin(request)}{path}?{query}", **more})


async def _metadata(request: web.Request, world: World) -> web.Response:
    await _mine(request, world)
    return answer({"ok": True})


async def _put(request: web.Request, world: World) -> web.Response:
    """Take a blob, or a block that is added to one; the signature alone opens it."""
    until, given = request.query.get("se", "0"), request.query.get("sig", "")
    if not hmac.compare_digest(given, _signature(world, request.path, until)):
        raise Refusal(403, "Server failed to authenticate the request.")
    if float(until) < world.now():
        raise Refusal(403, "Signature not valid in the specified time frame.")
    match = request.match_info
    job = next((each for each in world.jobs if each.key == match["job"]), None)
    if job is None:
        raise Refusal(404, "no such job")
    text = (await request.read()).decode(errors="replace")
    step: Step | None = job.step(match["step"])
    if match["kind"] == "summary":
        job.summaries[match["step"]] = text
    elif step is not None:
        step.log += text
    elif match["step"] != "job":
        name = job.own_steps.get(match["step"], "")
        job.runner_logs[name] = job.runner_logs.get(name, "") + text
    world.changes.ring()
    return nothing(201)
