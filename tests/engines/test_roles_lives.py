"""With a real engine no trap of a job leads its containers to another role; each is a whole life.

Without containers the same traps are in `tests/lives/`, listed in `traps.md` there.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from local import aws, oidc, sts
from local.github.payloads import number_of
from tests.engines import askers, proxied
from tests.engines.askers import ALL_NOTHING
from tests.engines.lives import run_there
from tests.engines.ruled import NONE, all_have, make_askers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]

DEPLOY, BUILD = (f"arn:aws:iam::{aws.ACCOUNT}:role/{name}" for name in ("deploy", "build"))
FOR_CONTAINERS = '[[container]]\nlabel = "role=none"\nrole = "none"\n'
RULES = f"""
[[job]]
repository = "octo/repo"
ref = "refs/heads/main"
role = "{DEPLOY}"

[[job]]
repository = "octo/*"
event = ["push", "pull_request"]
role = "{BUILD}"

{FOR_CONTAINERS}"""
OTHERS = RULES.replace('"octo/repo"', '"octo/other"').replace('"octo/*"', '"octo/other*"')
BY_NUMBER = f"""
[[job]]
repository = "octo/old-name"
role = "{DEPLOY}"

[[job]]
repository_id = {number_of("octo/repo")}
role = "{BUILD}"

{FOR_CONTAINERS}"""
BY_TOKEN = f"""
[[job]]
repository = "octo/repo"
proof = "oidc"
role = "{DEPLOY}"

{FOR_CONTAINERS}"""
LATER = "503"
EVIL = {"env": {"GITHUB_REPOSITORY": "octo/other", "GITHUB_REF": "refs/heads/main"}}
FORK = {"pull_request": 7, "head_repository": "mallory/repo"}
BRANCH = {"head_branch": "dev"}
SECOND_MESSAGE = (
    'cd "$RUNNER_TEMP/../../.sidecar" && printf '
    "'GITHUB_REPOSITORY=octo/repo\\0GITHUB_REF=refs/heads/main\\0GITHUB_EVENT_NAME=push\\0\\0' "
    "1<>ask || :"
)
KILLS_HOOKS = (
    """setsid sh -c "while :; do pkill -9 -f '$LIFE_ROOT/.*job-complete[d]'; sleep 0.05; done" """
    ">/dev/null 2>&1 </dev/null &"
)


class Outside(NamedTuple):
    """STS and GitHub's issuer of tokens, as the task reaches them."""

    sts: sts.Sts
    issuer: oidc.Issuer


class Trap(NamedTuple):
    """A job, and what its containers get: a role, NOTHING or LATER."""

    gets: str
    job: Mapping[str, Any] = {}
    rules: str = RULES
    steps: tuple[str, ...] = ()
    prepare: Callable[[Outside], Mapping[str, Any]] = lambda _: {}
    """Changes what is outside; returns more of the job."""
    env: Mapping[str, str] = {}


def throttle(outside: Outside) -> Mapping[str, Any]:
    """Let STS throttle all that comes."""
    outside.sts.faults += [(400, "Throttling")] * 10_000
    return {}


def slow_down(outside: Outside) -> Mapping[str, Any]:
    """Let STS take longer than anybody waits."""
    outside.sts.slowness = 60.0
    return {}


def forbid(outside: Outside) -> Mapping[str, Any]:
    """Take away the trust of the role."""
    del outside.sts.roles[DEPLOY]
    return {}


def let_tokens_expire(outside: Outside) -> Mapping[str, Any]:
    """Let GitHub give tokens that are too old."""
    outside.issuer.now = lambda: time.time() - 2 * oidc.LIFE
    return give_token(outside)


def give_token(outside: Outside) -> Mapping[str, Any]:
    """Let GitHub give the job tokens (`id-token: write`)."""
    known = {"repository": "octo/repo", "repository_id": number_of("octo/repo")}
    url = outside.issuer.admit_job(**known, run_id=None, run_attempt=None)
    return {"id_token_url": url}


NOTHING = askers.NOTHING
TRAPS = {
    "a workflow that sets the repository": Trap(NOTHING, EVIL, OTHERS),
    "a workflow that sets the ref": Trap("build", {**EVIL, **BRANCH}),
    "a second message": Trap("build", BRANCH, steps=(SECOND_MESSAGE,)),
    "a job that kills its last hook": Trap("build", BRANCH, steps=(KILLS_HOOKS,)),
    "a fork": Trap(NOTHING, {"event": "pull_request", **FORK}),
    "a fork's target": Trap(NOTHING, {"event": "pull_request_target", **FORK}),
    "a renamed repository": Trap("build", rules=BY_NUMBER),
    "another case": Trap("deploy", rules=RULES.replace("octo", "OCTO")),
    "a tag like a branch": Trap("build", {"ref": "refs/tags/main"}),
    "a long ref": Trap("build", {"ref": "refs/heads/" + "x" * 246}),
    "letters": Trap("build", {"ref": "refs/heads/bücher"}),
    "a role that cannot be assumed": Trap(LATER, prepare=forbid),
    "STS that throttles": Trap(LATER, prepare=throttle),
    "STS that is down": Trap(LATER, env={"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}),
    "STS that is slow": Trap(LATER, prepare=slow_down),
    "GitHub's token": Trap("deploy", rules=BY_TOKEN, prepare=give_token),
    "an expired token": Trap(LATER, rules=BY_TOKEN, prepare=let_tokens_expire),
    "no token": Trap(NOTHING, rules=BY_TOKEN),
}


@contextmanager
def serve_outside(place: Place) -> Iterator[Outside]:
    """Serve an STS that judges, and GitHub's issuer, on the task's own loopback."""
    started: Future[tuple[Outside, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        end = asyncio.Event()
        async with sts.serving(place.task.aws) as served, oidc.serving() as issuer:
            for role in (DEPLOY, BUILD):
                served.add(role, claims={"repository": "octo/repo"})
            started.set_result((Outside(served, issuer), asyncio.get_running_loop(), end))
            await end.wait()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_there, place, main, started)
        outside, loop, end = started.result(30)
        try:
            yield outside
        finally:
            loop.call_soon_threadsafe(end.set)
        running.result(30)


@pytest.fixture(scope="module", autouse=True)
def image(place: Place, root: Path) -> None:
    """Have the engine know the image of what asks."""
    askers.add_image(place.engine, root)


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_of_a_job_leads_its_containers_to_no_other_role(place: Place, name: str) -> None:
    """By no way; and beside them one that is told none gets nothing in any case."""
    trap = TRAPS[name]
    with serve_outside(place) as outside:
        job = {**trap.job, **trap.prepare(outside)}
        env = {"AWS_ENDPOINT_URL_STS": outside.sts.url, "SIDECAR_ROLES": trap.rules, **trap.env}
        with proxied.run_proxied(place, *trap.steps, more=job, **env) as life:
            ask = make_askers(place, life)
            patient = trap.gets != LATER
            plain, none = ask.start(), ask.start(NONE)
            assert ask.ask(plain, patient=patient) == all_have(trap.gets)
            assert ask.ask(none) == ALL_NOTHING
            ask.remove(plain, none)
