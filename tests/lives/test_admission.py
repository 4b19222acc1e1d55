"""Whole lives with a pool's policy: who may run a step in the task, and who never does.

Each attack is first shown to work where nothing is done against it.
"""

import json
import os
import signal

import pytest

from local.faults import Rule
from tests.lives.stage import (
    IS_ROOT,
    LOOPS,
    list_processes,
    open_stage,
    read_file,
    read_output,
    run_side_by_side,
    wait_until,
)
from tests.lives.test_hostile_jobs import read_peak_kib

POLICY = {"owners": ["octo"], "forks": False}
STRANGER = {"event": "pull_request", "pull_request": 7, "head_repository": "mallory/repo"}
ALWAYS = {"steps": [{"run": 'echo "in"side'}, {"run": 'echo "in"side', "if": "always()"}]}
"""A hook that only fails would let the second step run."""
ASK_ROLE = """\
python3 - <<'END'
import os, urllib.request
with urllib.request.urlopen(os.environ["RUNNER_SIDECAR_RELAY_URI"]) as answer:
    print("ro" + "le:", answer.status)
END
"""
SAME_USER = {"SIDECAR_RUNNER_USER": "root"}


async def put(stage, policy):
    """Write the token's parameter as the launcher does, with a policy if there is one."""
    stage.token = stage.mint_token()
    document = {"token": stage.token} | ({"policy": policy} if policy is not None else {})
    await stage.put(json.dumps(document))


def queue(stage, **more):
    """Queue a job whose steps show that they ran."""
    return stage.queue_job({"name": "build", **ALWAYS, **more})


def check_refused(life, job, reason):
    """Check that a job was failed at GitHub without a step, and that all say why."""
    (event,) = life.find_events("job.refused")
    assert reason in event["reason"]
    assert job.result == "failed"
    assert "inside" not in read_output(job)
    assert f"::error title=Job not admitted::this runner may not run the job: {reason}" in job.log()
    assert not life.find_events("job.admitted")
    (end,) = life.find_events("runner.ended")
    assert end["outcome"] == "job-refused"


@pytest.mark.parametrize(
    ("loop", "user"),
    [("uvloop", {}), pytest.param("asyncio", SAME_USER, marks=pytest.mark.root)],
    ids=["other-user", "same-user"],
)
def test_an_admitted_job_runs_with_its_role(aws, loop, user):
    """The role is served from the admission on, not before; the log says who the job is."""

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY)
            async with stage.life(LOOPS[loop], env=user) as life:
                uri = await find_relay_uri(stage, life)
                async with stage.http.get(uri) as answer:
                    assert answer.status == 503
                    assert (await answer.json())["message"] == "no job is admitted yet"
                job = stage.job(ASK_ROLE, event="workflow_dispatch", actor="someone")
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "role: 200" in read_output(job)
            (event,) = life.find_events("job.admitted")
            assert (event["repository"], event["actor"]) == ("octo/repo", "someone")
            assert (event["event_name"], event["ref"]) == ("workflow_dispatch", "refs/heads/main")

    run_side_by_side(play())


async def find_relay_uri(stage, life):
    """Wait for the listener; return the relay's address from its environment."""
    await life.wait_for_event("phase.entered", phase="idle")
    name = b"RUNNER_SIDECAR_RELAY_URI="
    listeners = [pid for pid, words in stage.find_processes().items() if "Listener" in words]
    for pid in listeners:
        for line in read_file(f"/proc/{pid}/environ").split(b"\0"):
            if line.startswith(name):
                return line.removeprefix(name).decode()
    raise AssertionError("no process has the relay's address")


@pytest.mark.parametrize("mended", [False, True], ids=["without-policy", "with-policy"])
def test_a_stranger_who_queued_first_never_runs_in_an_approved_job_s_task(aws, mended):
    """GitHub gives the task's runner to his pull request, which asks for the same labels.

    Without the policy his steps run. With it his job is failed at GitHub before any step, and the
    approved job gets the next task.
    """

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY if mended else None)
            labels = {"labels": ["self-hosted"]}
            stranger = queue(stage, **labels, **STRANGER)
            approved = queue(stage, **labels)
            async with stage.life() as life:
                await stage.check_end(life, 25 if mended else 0)
            assert ("inside" in read_output(stranger)) is not mended
            assert approved.state == "queued"
            if not mended:
                return
            check_refused(life, stranger, "its commit comes from mallory/repo")
            await put(stage, POLICY)
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert approved.result == "succeeded"
            assert "inside" in read_output(approved)

    run_side_by_side(play())


def test_a_hook_that_only_fails_would_let_a_step_run(aws):
    """Why a refused job's worker is ended: a step with `if: always()` runs after a failed hook."""

    async def play():
        async with open_stage(aws) as stage:
            hook = stage.folder / "hook.sh"
            hook.write_text("exit 1\n")
            await put(stage, None)
            job = queue(stage)
            async with stage.life(env={"ACTIONS_RUNNER_HOOK_JOB_STARTED": str(hook)}) as life:
                await stage.check_end(life, 0)
            assert job.result == "failed"
            assert read_output(job).count("inside") == 1

    run_side_by_side(play())


async def refuse(aws, policy, reason, knobs=None, **job):
    """Play a life whose job is refused for that reason."""
    async with open_stage(aws) as stage:
        stage.misbehave(**knobs or {})
        await put(stage, policy)
        # A workflow's own variables say nothing about it.
        queued = queue(stage, env={"GITHUB_REPOSITORY": "acme/app"}, **job)
        async with stage.life() as life:
            await stage.check_end(life, 25)
        check_refused(life, queued, reason)


def test_each_part_of_a_policy_is_enforced(aws):
    """By what the runner says of the job, not by its labels or its workflow's variables."""
    dev, new = {"head_branch": "dev"}, {"event": "brand_new"}
    only_main = {"forks": False, "refs": ["refs/heads/main"]}
    run_side_by_side(
        refuse(aws, {"owners": ["acme"]}, "octo/repo is none of the pool's repositories and"),
        refuse(aws, {"forks": True, "events": ["push"]}, "the event pull_request is", **STRANGER),
        refuse(aws, only_main, "the ref refs/heads/dev is none of the pool's refs", **dev),
        refuse(aws, POLICY, "where a job of the event brand_new comes from", **new),
    )


def test_an_event_file_that_was_tampered_with_admits_nobody(aws):
    """Even the repository's own pull request: where its commit comes from is not known then."""
    own = STRANGER | {"head_repository": "octo/repo"}
    reason = "its event cannot be read: "
    run_side_by_side(
        *(
            refuse(aws, POLICY, reason, {"event_file": kind}, **own)
            for kind in ("missing", "link", "pipe", "empty")
        )
    )


def test_a_link_that_an_earlier_job_left_decides_nothing(aws):
    """A job of the same disk leads the next one's event away: the link goes first."""
    plant = (
        'cd "$RUNNER_TEMP/../.." && mkdir -p evil/_github_workflow && '
        f"echo '{json.dumps({'repository': {'full_name': 'octo/repo'}})}' "
        "> evil/_github_workflow/event.json && rm -rf _work/_temp && ln -s ../evil _work/_temp"
    )

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY)
            stage.job(plant)
            async with stage.life() as life:
                assert await life.wait_for_end() == 0
            assert (stage.runner_folder / "evil").exists()
            await put(stage, POLICY)
            job = queue(stage, **STRANGER)
            async with stage.life() as life:
                await stage.check_end(life, 25)
            check_refused(
                life, job, "its commit comes from mallory/repo, and the pool admits no forks"
            )

    run_side_by_side(play())


FLOOD = """\
cd "$RUNNER_TEMP/../../.sidecar"
for fifo in ask hook answer; do
    (: 1<>$fifo) 2>/dev/null || echo "no"-$fifo
    (yes "$(printf 'started%04000d' 0)" 1<>$fifo) 2>/dev/null &
    (timeout 2 cat $fifo >/dev/null 2>&1) &
done
(while :; do printf 'GITHUB_REPOSITORY=x\\0\\0' 1<>ask; done) 2>/dev/null &
sleep 2; echo "flo"oded; kill $(jobs -p) 2>/dev/null; exit 0
"""


def test_a_job_that_floods_the_channels_changes_nothing(aws):
    """Its own admission is over; memory stays flat, and the life ends in good order."""

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY)
            (gate, open_gate), (second, open_second) = stage.make_gate(), stage.make_gate()
            job = stage.job('echo "be"gun', gate, FLOOD, second)
            async with stage.life() as life:
                await stage.wait_for_output(job, "begun")
                before = read_peak_kib(life.pid)
                open_gate()
                await stage.wait_for_output(job, "flooded")
                grown = read_peak_kib(life.pid) - before
                open_second()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert grown < 16 * 1024, f"the agent grew by {grown} KiB"
            assert len(life.find_events("job.admitted")) == 1
            assert ("no-answer" in read_output(job)) is IS_ROOT

    run_side_by_side(play())


async def stop_in_hook(stage, life):
    """Let the agent stand still until the hook of a job waits for its answer; gives the job."""
    await life.wait_for_event("phase.entered", phase="idle")
    os.kill(life.pid, signal.SIGSTOP)
    job = queue(stage)
    await wait_until(lambda: find_waiting_hook(stage), "a hook that waits")
    return job


def find_waiting_hook(stage):
    """Return whether a hook of this stage waits for its answer."""
    path = f"{stage.runner_folder}/.sidecar/answer".encode()
    return any(
        path in (words := read_file(f"/proc/{pid}/cmdline").split(b"\0")) and b"sh" in words[:1]
        for pid in list_processes()
    )


def test_a_stop_while_the_hook_waits_lets_the_job_be_judged(aws):
    """The agent answers first; the job is then one that runs while a stop comes."""

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY)
            async with stage.life() as life:
                job = await stop_in_hook(stage, life)
                life.signal(signal.SIGTERM)
                life.signal(signal.SIGCONT)
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert life.find_events("job.admitted")

    run_side_by_side(play())


def test_a_job_whose_agent_died_in_its_hook_runs_no_step(aws):
    """Nobody answers: the hook itself ends the job, and GitHub shows it as failed."""

    async def play():
        async with open_stage(aws) as stage:
            await put(stage, POLICY)
            async with stage.life() as life:
                job = await stop_in_hook(stage, life)
                life.signal(signal.SIGKILL)
                await stage.wait_for(lambda: job.state == "completed", "the job's end")
                await life.wait_for_end()
                stage.kill_processes()
            assert job.result == "failed"
            assert "inside" not in read_output(job)
            assert "the agent did not answer" in job.log()

    run_side_by_side(play())


def test_a_policy_that_is_not_understood_takes_no_job(aws):
    """The life ends before anything is registered; the token is deleted."""

    async def play(policy):
        async with open_stage(aws) as stage:
            await put(stage, policy)
            job = queue(stage)
            async with stage.life() as life:
                await stage.check_end(life, 12)
            assert '"policy"' in life.find_events("life.failed")[0]["reason"]
            assert job.state == "queued"

    run_side_by_side(play({"workflows": ["x"]}), play([]))


# --- a parameter for the task alone -------------------------------------------------------------


BY_TAG = Rule("status", error="AccessDeniedException", instead_of="ParameterNotFound")
"""SSM with a policy that allows what is tagged with the task: nothing has a tag before it is."""


def test_the_task_s_own_parameter_is_waited_for_while_access_is_denied(aws):
    """As if it did not exist yet; it is deleted under the same policy."""

    async def play():
        async with open_stage(aws) as stage:
            stage.ssm.add(BY_TAG)
            async with stage.life(env={"SIDECAR_TOKEN_PARAMETER": "/lives/{task}"}) as life:
                (awaited,) = [await life.wait_for_event("token.awaited")]
                stage.parameter = awaited["parameter"]
                await put(stage, POLICY)
                job = queue(stage)
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert life.find_events("token.deleted")

    run_side_by_side(play())


def test_the_wait_for_the_task_s_own_parameter_has_an_end(aws):
    """SIDECAR_TOKEN_TIMEOUT; the error names both possible reasons."""
    env = {"SIDECAR_TOKEN_PARAMETER": "/lives/{task}", "SIDECAR_TOKEN_TIMEOUT": "1"}

    async def play():
        async with open_stage(aws) as stage:
            stage.ssm.add(BY_TAG)
            async with stage.life(env=env) as life:
                await stage.check_end(life, 12)
            reason = life.find_events("life.failed")[0]["reason"]
            assert "access denied (needs ssm:GetParameter), or it does not exist yet" in reason
            assert "waited 1 s for it (SIDECAR_TOKEN_TIMEOUT)" in reason

    run_side_by_side(play())
