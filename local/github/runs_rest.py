"""The REST calls about jobs and runs: look-up, cancel, run again, approve."""

from collections.abc import Iterator

from aiohttp import web

from local.github import callers, payloads
from local.github.answers import Handler, Refusal, answer, posted
from local.github.jobs import Job
from local.github.runs import Run
from local.github.scope import Scope
from local.github.services import origin
from local.github.world import World


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call, without the API's own prefix."""
    base = "/repos/{owner}/{repo}/actions"
    run, job = f"{base}/runs/{{id:\\d+}}", f"{base}/jobs/{{id:\\d+}}"
    yield "GET", f"{base}/runs", "list-runs", _list_runs
    yield "GET", run, "get-run", _get_run
    yield "GET", f"{run}/jobs", "list-jobs", _list_jobs
    yield "POST", f"{run}/cancel", "cancel-run", _cancel_run
    yield "POST", f"{run}/rerun", "rerun-run", _rerun
    yield "POST", f"{run}/rerun-failed-jobs", "rerun-failed-jobs", _rerun_failed
    yield "POST", f"{run}/pending_deployments", "review-deployments", _review
    yield "GET", job, "get-job", _get_job
    yield "POST", f"{job}/rerun", "rerun-job", _rerun_job


def _scope(request: web.Request, world: World, *, write: bool = False) -> Scope:
    scope = Scope("repos", request.match_info["owner"], request.match_info["repo"])
    callers.find_caller(request, world, scope, write=write, permission="actions")
    return scope


def _run(request: web.Request, world: World, scope: Scope) -> Run:
    run = world.jobs.runs.get(int(request.match_info["id"]))
    if run is None or not scope.holds(run.repository):
        raise Refusal(404, "Not Found")
    return run


def _job(request: web.Request, world: World, scope: Scope) -> Job:
    job = world.jobs.get(int(request.match_info["id"]))
    if job is None or not scope.holds(job.repository):
        raise Refusal(404, "Not Found")
    return job


def _places(request: web.Request) -> tuple[str, str]:
    """Give the addresses of the API and of the site, as the caller knows them."""
    site = origin(request)
    return site + request.path.partition("/repos/")[0], site


async def _list_runs(request: web.Request, world: World) -> web.Response:
    """List the repository's runs, newest first; `status` may be one, or a conclusion."""
    scope, wanted = _scope(request, world), request.query.get("status", "")
    found = [run for run in world.jobs.runs if scope.holds(run.full_name)]
    shown = [payloads.run(run, world.jobs.of_run(run), *_places(request)) for run in found]
    fitting = [each for each in shown if wanted in ("", each["status"], each["conclusion"])]
    page, size = (int(request.query.get(key, one)) for key, one in (("page", 1), ("per_page", 30)))
    cut = fitting[::-1][(page - 1) * size : page * size]
    return answer({"total_count": len(fitting), "workflow_runs": cut})


async def _get_run(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world))
    shown = payloads.run(run, world.jobs.of_run(run), *_places(request))
    if request.query.get("exclude_pull_requests") == "true":
        shown["pull_requests"] = []
    return answer(shown)


async def _list_jobs(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world))
    everything = request.query.get("filter") == "all"
    found = [
        job for job in world.jobs if job.run is run and (everything or job.attempt == run.attempt)
    ]
    groups = world.settings.runner_groups
    page, size = (int(request.query.get(key, one)) for key, one in (("page", 1), ("per_page", 30)))
    cut = found[(page - 1) * size : page * size]
    shown = [payloads.job(job, *_places(request), groups) for job in cut]
    return answer({"total_count": len(found), "jobs": shown})


async def _get_job(request: web.Request, world: World) -> web.Response:
    job = _job(request, world, _scope(request, world))
    return answer(payloads.job(job, *_places(request), world.settings.runner_groups))


async def _cancel_run(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world, write=True))
    cancelled = [world.cancel(job) for job in world.jobs.of_run(run)]  # each of them
    if not any(cancelled):
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    return answer({}, 202)


async def _rerun(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world, write=True))
    return _again(world, world.jobs.of_run(run))


async def _rerun_failed(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world, write=True))
    return _again(world, world.jobs.of_run(run), only_failed=True)


async def _rerun_job(request: web.Request, world: World) -> web.Response:
    return _again(world, [_job(request, world, _scope(request, world, write=True))])


def _again(world: World, jobs: list[Job], *, only_failed: bool = False) -> web.Response:
    if any(job.state != "completed" for job in world.jobs.of_run(jobs[0].run)):
        raise Refusal(403, "This workflow is already running")
    wanted = [job for job in jobs if not only_failed or job.result != "succeeded"]
    if not wanted:
        raise Refusal(403, "This workflow run has no failed jobs")
    world.jobs.run_again(wanted, world.now())
    return answer({}, 201)


async def _review(request: web.Request, world: World) -> web.Response:
    run = _run(request, world, _scope(request, world, write=True))
    body = await posted(request)
    if body.get("state") not in ("approved", "rejected"):
        raise Refusal(422, "Invalid request.\n\nstate must be approved or rejected.")
    waiting = [job for job in world.jobs.of_run(run) if job.state == "waiting"]
    shown = [payloads.deployment(job) for job in waiting]
    for job in waiting:
        world.approve(job, rejected=body["state"] == "rejected")
    return answer(shown)
