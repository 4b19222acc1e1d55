"""The stand-in of the runner's program, as a supervisor meets it: real processes only."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local import github
from local.github.scope import Scope
from local.runner import install

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows: tests/windows")

DEMO = Scope.of_path("/repos/octo/demo")
PATIENCE = 120.0
FAST = {"time_scale": 0.02, "unload_seconds": 30, "session_end_seconds": 30}
"""A running step gets SIGTERM 0.15 s after SIGINT, instead of 7.5 s."""

TRAPPED = {"step_interrupt_seconds": 5}
"""On a busy machine too a shell comes to its trap in that time."""

FOREVER = "while :; do sleep 0.05; done"


class Stage:
    """One GitHub, one runner root."""

    def __init__(self, served, root):
        self.github = served
        self.world = served.world
        self.root = root
        self.url = f"{served.url}/octo/demo"

    def misbehave(self, **knobs):
        """Write the knobs."""
        (self.root / ".misbehave.json").write_text(json.dumps(knobs))

    async def start(self, *words, **env):
        """Start the listener as a child."""
        return await asyncio.create_subprocess_exec(
            self.root / "bin" / "Runner.Listener",
            *words,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def call(self, *words, **env):
        """Run it to its end: code, stdout, stderr."""
        child = await self.start(*words, **env)
        out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
        return child.returncode, out.decode(), err.decode()

    def token(self, **more):
        """Mint a registration token."""
        return self.world.mint("registration", DEMO, **more).value

    async def configure(self, *words, name="one", token=None):
        """Configure as the agent does: the token through the environment."""
        env = {"ACTIONS_RUNNER_INPUT_TOKEN": token or self.token()}
        flags = ["--unattended", "--ephemeral", "--disableupdate", "--url", self.url]
        return await self.call("configure", *flags, "--name", name, *words, **env)

    async def configured(self, *words, **more):
        """Configure, and be sure of it."""
        code, _, err = await self.configure(*words, **more)
        assert (code, err) == (0, "")

    @contextlib.asynccontextmanager
    async def listening(self, **env):
        """Run a listener, from its first question on."""
        child = await self.start("run", **env)
        try:
            await self.until(lambda: any(each.polls for each in self.world.sessions.values()))
            yield child
        finally:
            if child.returncode is None:
                child.kill()
            await child.communicate()

    def hold_workers(self):
        """Let workers that start wait until the call that is returned."""
        program, go = self.root / "bin" / "Runner.Worker", self.root / "go"
        first = program.rename(program.with_name("First.Worker"))
        program.write_text(
            f'#!/bin/sh\nuntil [ -e {go} ]; do sleep 0.05; done\nexec {first} "$@"\n'
        )
        program.chmod(0o755)
        return go.touch

    async def until(self, look):
        """Wait for GitHub to see something."""
        assert await self.world.changes.until(lambda: look() or None, PATIENCE), "never came"

    def queue(self, *runs, **more):
        """Queue a job."""
        steps = [run if isinstance(run, dict) else {"run": run} for run in runs]
        return self.world.jobs.add({"name": "build", "steps": steps, **more}, self.world.now())

    def held(self, name):
        """Read one of the runner's files as it is."""
        raw = (self.root / name).read_bytes()
        assert raw.startswith(b"\xef\xbb\xbf")
        return json.loads(raw.decode("utf-8-sig"))


def life(tmp_path, story, *, kind=Stage, **settings):
    """Run one story on a stage of that kind."""

    async def run():
        async with github.serving(settings=github.Settings(**settings)) as served:
            await story(kind(served, install(tmp_path / "runner")))

    asyncio.run(run())


async def ended(child):
    """Wait for a child's end: code, stdout, stderr."""
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    return child.returncode, out.decode(), err.decode()


async def line(child, text):
    """Read stdout up to the line that holds `text`."""
    async with asyncio.timeout(PATIENCE):
        while text not in (read := (await child.stdout.readline()).decode()):
            assert read, f"ended without {text!r}"
    return read


# configure and remove


def test_configure_writes_what_the_real_one_writes(tmp_path):
    """Files with a byte order mark, camelCase, a key for its owner only; all default labels."""

    async def story(stage):
        code, out, err = await stage.configure("--labels", "a,b,a")
        assert (code, err) == (0, "")
        for text in ("√ Connected to GitHub", "√ Runner successfully added", "√ Settings Saved."):
            assert f"{text}\n" in out
        settings = stage.held(".runner")
        assert settings["agentName"] == "one"
        assert settings["gitHubUrl"] == stage.url
        assert settings["ephemeral"] is True
        assert settings["workFolder"] == "_work"
        assert stage.held(".credentials")["scheme"] == "OAuth"
        assert len(stage.held(".credentials_rsaparams")["modulus"]) == 344
        assert stat.S_IMODE((stage.root / ".credentials_rsaparams").stat().st_mode) == 0o600
        assert not (stage.root / "_work").exists()
        (runner,) = stage.world.runners
        first, _system, _architecture, *own = [each.name for each in runner.labels]
        assert (first, own) == ("self-hosted", ["a", "b"])

    life(tmp_path, story)


def test_a_configured_root_refuses_to_be_configured(tmp_path):
    """Exit 1, and the first registration stays."""

    async def story(stage):
        await stage.configured()
        code, _, err = await stage.configure(name="two")
        assert code == 1
        assert err.startswith("Cannot configure the runner because it is already configured.")
        assert [each.name for each in stage.world.runners] == ["one"]

    life(tmp_path, story)


def test_a_taken_name_is_refused_or_replaced(tmp_path):
    """Without --replace exit 1 in the known words; with it the registration is the same one."""

    async def story(stage):
        await stage.configured()
        (first,) = stage.world.runners
        assert (await stage.call("remove", "--local"))[0] == 0
        code, out, err = await stage.configure()
        assert (code, err) == (1, "A runner exists with the same name one.\n")
        assert "A runner exists with the same name\n" in out
        code, out, _ = await stage.configure("--replace")
        assert "√ Successfully replaced the runner\n" in out
        (second,) = stage.world.runners
        assert (second.id, second.client_id != first.client_id) == (first.id, True)

    life(tmp_path, story)


@pytest.mark.parametrize("command", ["configure", "remove"])
def test_an_expired_token_is_a_bare_404(tmp_path, command):
    """The cryptic answer users know: HTTP 404, exit 1."""

    async def story(stage):
        if command == "remove":
            await stage.configured()
            expired = stage.token(lifetime=0)
            code, _, err = await stage.call("remove", "--token", expired)
            assert "Failed: Removing runner from the server\n" in err
            assert (stage.root / ".runner").exists()
        else:
            code, _, err = await stage.configure(token=stage.token(lifetime=0))
        assert code == 1
        assert "Http response code: NotFound from 'POST " in err
        assert err.endswith("Response status code does not indicate success: 404 (Not Found).\n")

    life(tmp_path, story)


def test_remove_takes_the_runner_off_github(tmp_path):
    """With the registration token, while it is young; all files go."""

    async def story(stage):
        token = stage.token()
        await stage.configured(token=token)
        code, out, err = await stage.call("remove", ACTIONS_RUNNER_INPUT_TOKEN=token)
        assert (code, err) == (0, "")
        assert "# Runner removal\n" in out
        assert "√ Runner removed successfully\n" in out
        assert list(stage.world.runners) == []
        assert [each.name for each in stage.root.glob(".[rc]*")] == []
        code, out, _ = await stage.call("remove", "--token", token)
        assert code == 0
        assert "because config files are missing. Skipping removing" in out

    life(tmp_path, story)


def test_a_busy_runner_is_not_removed(tmp_path):
    """`is still running a job`, exit 1, and the job goes on."""

    async def story(stage):
        await stage.configured()
        job = stage.queue("until [ -e go ]; do sleep 0.05; done")
        async with stage.listening() as child:
            await stage.until(lambda: job.acquired)
            code, _, err = await stage.call("remove", "--token", stage.token())
            assert code == 1
            assert err.endswith('Runner "one" is still running a job"\n')
            workspace = stage.root / "_work" / "demo" / "demo"
            await stage.until(lambda: job.steps[0].state == "running")
            (workspace / "go").touch()
            assert (await ended(child))[0] == 0
        assert job.result == "succeeded"

    life(tmp_path, story)


def test_arguments_are_read_as_the_real_one_reads_them(tmp_path):
    """Flags in the environment need the word true; unknown ones are only complained of."""

    async def story(stage):
        env = {
            "ACTIONS_RUNNER_INPUT_TOKEN": stage.token(),
            "ACTIONS_RUNNER_INPUT_URL": stage.url,
            "ACTIONS_RUNNER_INPUT_NAME": "lost",
            "ACTIONS_RUNNER_INPUT_EPHEMERAL": "1",
            "ACTIONS_RUNNER_INPUT_DISABLEUPDATE": "true",
        }
        flags = ("--unattended", "--name", "won", "--no-such")
        code, _, err = await stage.call("configure", *flags, **env)
        assert code == 0
        complaint = "Unrecognized command-line input arguments for command configure: 'no-such'."
        assert err.startswith(complaint)
        (runner,) = stage.world.runners
        assert (runner.name, runner.ephemeral) == ("won", False)
        assert stage.held(".runner")["disableUpdate"] is True
        code, out, _ = await stage.call("--version")
        assert (code, out) == (0, "2.336.0\n")

    life(tmp_path, story)


def test_dot_env_overrides_the_environment(tmp_path):
    """`.env` in the root wins, at every start."""

    async def story(stage):
        (stage.root / ".env").write_text("ACTIONS_RUNNER_INPUT_NAME=from-file\nEMPTY=\n")
        env = {"ACTIONS_RUNNER_INPUT_NAME": "from-env", "ACTIONS_RUNNER_INPUT_URL": stage.url}
        code, _, _ = await stage.call("configure", "--unattended", "--token", stage.token(), **env)
        assert code == 0
        assert stage.held(".runner")["agentName"] == "from-file"

    life(tmp_path, story)


def test_a_group_that_is_not_there_is_named(tmp_path):
    """Exit 1 in the known words."""

    async def story(stage):
        code, _, err = await stage.configure("--runnergroup", "gpu")
        text = 'Could not find any self-hosted runner group named "gpu".\n'
        assert (code, err) == (1, text)
        stage.world.settings.runner_groups.append("gpu")
        await stage.configured("--runnergroup", "gpu")
        assert stage.held(".runner")["poolName"] == "gpu"

    life(tmp_path, story)


# run


def test_an_ephemeral_runner_runs_one_job_and_is_forgotten(tmp_path):
    """The known lines, exit 0, GitHub deregisters, the files go, the second job stays queued."""

    async def story(stage):
        await stage.configured()
        job, other = stage.queue("pwd; echo $GITHUB_REPOSITORY"), stage.queue("true")
        code, out, err = await stage.call("run")
        assert (code, err) == (0, "")
        *_, version, listening, running, completed, creds, runner = out.splitlines()
        assert version == "Current runner version: '2.336.0'"
        assert listening.endswith("Z: Listening for Jobs")
        assert running.endswith("Z: Running job: build")
        assert completed.endswith("Z: Job build completed with result: Succeeded")
        assert (creds, runner) == ("√ Removed .credentials", "√ Removed .runner")
        assert f"{stage.root}/_work/demo/demo\nocto/demo\n" in job.steps[0].log
        assert (job.result, other.state) == ("succeeded", "queued")
        assert [each.by for each in stage.world.runners.removed] == ["job-completed"]
        assert list((stage.root / "_diag").glob("Worker_*-utc.log"))

    life(tmp_path, story)


def test_a_failing_step_skips_the_rest_but_always(tmp_path):
    """Conditions as GitHub has them; GITHUB_ENV and GITHUB_PATH reach the next step."""

    async def story(stage):
        await stage.configured()
        job = stage.queue(
            'echo A=1 >> "$GITHUB_ENV"; echo /extra >> "$GITHUB_PATH"',
            'echo "$A ${PATH%%:*}"; exit 3',
            "true",
            {"run": "true", "if": "always()"},
            {"run": "true", "if": "cancelled()"},
            {"run": "true", "if": "${{ failure() }}"},
        )
        code, out, _ = await stage.call("run")
        assert code == 0
        assert "completed with result: Failed" in out
        results = [step.result for step in job.steps]
        assert results == ["succeeded", "failed", "skipped", "succeeded", "skipped", "succeeded"]
        assert "1 /extra\n##[error]Process completed with exit code 3.\n" in job.steps[1].log

    life(tmp_path, story)


def test_a_job_waits_for_its_labels(tmp_path):
    """Only a runner that carries all of a job's labels gets it."""

    async def story(stage):
        await stage.configured("--labels", "small")
        large, small = stage.queue("true", labels=["large"]), stage.queue("true", labels=["Small"])
        await stage.call("run")
        assert (large.state, small.result) == ("queued", "succeeded")

    life(tmp_path, story)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_an_idle_listener_ends_on_a_signal(tmp_path, number, code):
    """The session is deleted, the registration stays: a stopped idle runner is still there."""

    async def story(stage):
        await stage.configured()
        async with stage.listening() as child:
            child.send_signal(number)
            ended_with, out, _ = await ended(child)
        assert ended_with == code
        assert ("Exiting...\n" in out) is (number == signal.SIGINT)
        assert stage.world.sessions == {}
        assert len(list(stage.world.runners)) == 1
        assert (stage.root / ".runner").exists()

    life(tmp_path, story)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job_and_no_step_follows(tmp_path, number, code):
    """The step is ended by the ladder; not even always() runs; the result is Canceled."""

    async def story(stage):
        stage.misbehave(**TRAPPED)
        await stage.configured()
        job = stage.queue(
            f"trap 'echo caught INT' INT; echo began; {FOREVER}",
            {"run": "true", "if": "always()"},
        )
        async with stage.listening() as child:
            await stage.until(lambda: "\nbegan" in job.steps[0].log)
            child.send_signal(number)
            ended_with, out, _ = await ended(child)
        assert ended_with == code
        assert out.endswith("Z: Job build completed with result: Canceled\n")
        assert "caught INT\n" in job.steps[0].log
        assert "The runner has received a shutdown signal." in job.steps[0].log
        assert [step.result for step in job.steps] == ["canceled", "skipped"]
        assert job.result == "failed"

    life(tmp_path, story)


def test_a_cancel_by_github_lets_always_run(tmp_path):
    """The running step ends, always() and cancelled() steps still run."""

    async def story(stage):
        stage.misbehave(**FAST)
        await stage.configured()
        job = stage.queue(
            f"echo began; {FOREVER}",
            "true",
            {"run": "true", "if": "always()"},
            {"run": "true", "if": "cancelled()"},
        )
        async with stage.listening() as child:
            await stage.until(lambda: "\nbegan" in job.steps[0].log)
            stage.world.cancel(job)
            code, out, _ = await ended(child)
        assert code == 0
        assert "completed with result: Canceled" in out
        results = [step.result for step in job.steps]
        assert results == ["canceled", "skipped", "succeeded", "succeeded"]

    life(tmp_path, story)


def test_a_cancel_that_comes_before_the_first_step_ends_the_job(tmp_path):
    """The worker, which still starts, is told of its job and of the cancel at once."""

    async def story(stage):
        stage.misbehave(**FAST)
        await stage.configured()
        start_workers = stage.hold_workers()
        job = stage.queue(FOREVER)
        async with stage.listening() as child:
            await stage.until(lambda: job.state == "running")
            stage.world.cancel(job)
            # The listener asks for the next message when it has passed on that one.
            polls = stage.world.sessions.values()
            await stage.until(lambda: job.cancel_sent and any(each.polls for each in polls))
            start_workers()
            code, out, _ = await ended(child)
        assert code == 0
        assert "completed with result: Canceled" in out
        assert (job.result, job.steps[0].result) == ("canceled", "skipped")

    life(tmp_path, story)


def test_orphans_of_a_job_are_killed(tmp_path):
    """What a step leaves in the background does not outlive the job."""

    async def story(stage):
        await stage.configured()
        job = stage.queue("sleep 300 > /dev/null 2>&1 & echo pid $!")
        await stage.call("run")
        pid = int(job.steps[0].log.partition("pid ")[2].split()[-1])
        assert f"Terminate orphan process: pid ({pid})" in job.runner_logs["Complete job"]
        assert not alive(pid)

    life(tmp_path, story)


def alive(pid):
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_hooks_run_first_and_last(tmp_path):
    """STARTED's GITHUB_ENV reaches the steps; .setup_info shows in the job's log."""

    async def story(stage):
        await stage.configured()
        started, completed = tmp_path / "started.sh", tmp_path / "completed.sh"
        started.write_text('echo from hook; echo FROM_HOOK=yes >> "$GITHUB_ENV"\n')
        completed.write_text("echo bye\n")
        info = [{"group": "Task", "detail": "arn:x"}]
        (stage.root / ".setup_info").write_text(json.dumps(info))
        job = stage.queue("echo hook said $FROM_HOOK")
        env = {
            "ACTIONS_RUNNER_HOOK_JOB_STARTED": str(started),
            "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": str(completed),
        }
        await stage.call("run", **env)
        assert "hook said yes\n" in job.steps[0].log
        assert "from hook\n" in job.runner_logs["Set up runner"]
        assert "bye\n" in job.runner_logs["Complete runner"]
        assert "##[group]Task\narn:x\n" in job.runner_logs["Set up job"]

    life(tmp_path, story)


@pytest.mark.parametrize("text", ["exit 4\n", None])
def test_a_hook_that_fails_or_is_missing_fails_the_job(tmp_path, text):
    """No step runs after it."""

    async def story(stage):
        await stage.configured()
        hook = tmp_path / "hook.sh"
        if text is not None:
            hook.write_text(text)
        job = stage.queue("true")
        await stage.call("run", ACTIONS_RUNNER_HOOK_JOB_STARTED=str(hook))
        assert (job.result, job.steps[0].result) == ("failed", "skipped")

    life(tmp_path, story)


def test_steps_get_the_listener_s_environment_without_its_inputs(tmp_path):
    """All variables but ACTIONS_RUNNER_INPUT_* reach a step; a job's own come on top."""

    async def story(stage):
        await stage.configured()
        job = stage.queue("env", env={"OF_THE_JOB": "1"})
        await stage.call("run", SECRET="2", ACTIONS_RUNNER_INPUT_TOKEN="3")
        log = job.steps[0].log
        for text in ("SECRET=2\n", "OF_THE_JOB=1\n", "CI=true\n", "RUNNER_TRACKING_ID=github_"):
            assert text in log
        assert "ACTIONS_RUNNER_INPUT" not in log

    life(tmp_path, story)


def test_the_diagnostic_log_goes_to_stdout_on_request(tmp_path):
    """ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1 shows listener and worker."""

    async def story(stage):
        await stage.configured()
        stage.queue("true")
        _, out, _ = await stage.call("run", ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT="1")
        assert "\n[RUNNER 2" in out
        assert "\n[WORKER 2" in out

    life(tmp_path, story)


def test_a_jit_configuration_runs_and_cannot_be_removed(tmp_path):
    """PascalCase and text in the files, no GitHub URL; about 4.1 kB; no token removes it."""

    async def story(stage):
        runner, blob = await jit(stage)
        assert 4000 < len(blob) < 4400
        files = json.loads(base64.b64decode(blob))
        settings = json.loads(base64.b64decode(files[".runner"]).decode("utf-8-sig"))
        assert (settings["AgentId"], settings["Ephemeral"]) == (str(runner), "True")
        assert "GitHubUrl" not in settings
        child = await stage.start("run", ACTIONS_RUNNER_INPUT_JITCONFIG=blob)
        await stage.until(lambda: stage.world.sessions)
        code, _, err = await stage.call("remove", "--token", stage.token())
        assert (code, "Failed: Removing runner from the server" in err) == (1, True)
        job = stage.queue("true")
        assert (await ended(child))[0] == 0
        assert (job.result, list(stage.world.runners)) == ("succeeded", [])

    life(tmp_path, story)


async def jit(stage):
    """Have GitHub make a JIT configuration: the runner's id and the blob."""
    import aiohttp

    url = f"{stage.github.api}/repos/octo/demo/actions/runners/generate-jitconfig"
    wanted = {"name": "jit", "runner_group_id": 1, "labels": ["x"]}
    headers = {"Authorization": "Bearer ghp_local"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, json=wanted, headers=headers) as reply,
    ):
        body = await reply.json()
    return body["runner"]["id"], body["encoded_jit_config"]


def test_what_a_step_said_is_read_however_late(tmp_path):
    """Only what comes later than it is waited for is lost."""

    async def story(stage):
        stage.misbehave(step_stream_seconds=0)
        await stage.configured()
        job = stage.queue("sleep 300 & seq 40000")  # more than a pipe holds
        assert (await stage.call("run"))[0] == 0
        assert "\n39999\n40000\n" in job.steps[0].log

    life(tmp_path, story)


# what goes wrong


def test_not_configured_is_code_1(tmp_path):
    """`run` without the files."""

    async def story(stage):
        code, _, err = await stage.call("run")
        assert (code, "Not configured." in err) == (1, True)

    life(tmp_path, story)


def test_a_registration_deleted_before_the_start_is_code_1(tmp_path):
    """The session is refused in the known words."""

    async def story(stage):
        await stage.configured()
        for runner in stage.world.runners:
            stage.world.runners.remove(runner, "test")
        code, _, err = await stage.call("run")
        assert code == 1
        assert err.startswith("Failed to create a session. The runner registration has been del")

    life(tmp_path, story)


def test_a_registration_deleted_while_idle_is_code_0(tmp_path):
    """The listener cleans up its files and goes."""

    async def story(stage):
        await stage.configured()
        async with stage.listening() as child:
            for runner in stage.world.runners:
                stage.world.runners.remove(runner, "rest")
            code, _, err = await ended(child)
        assert code == 0
        assert err.startswith("The runner no longer exists on the server. Cleaning up local conf")
        assert not (stage.root / ".runner").exists()

    life(tmp_path, story)


def test_a_ghost_listens_for_ever(tmp_path):
    """Its assignment is lost and its registration gone; it is never told, and ends on SIGINT."""

    async def story(stage):
        stage.world.settings.ghosts = 1
        await stage.configured()
        job = stage.queue("true")
        async with stage.listening() as child:
            await stage.until(lambda: any(each.ghost for each in stage.world.sessions.values()))
            assert (list(stage.world.runners), job.state) == ([], "queued")
            assert child.returncode is None
            child.send_signal(signal.SIGINT)
            assert (await ended(child))[0] == 0

    life(tmp_path, story, poll_seconds=0.05)


def test_a_second_listener_meets_a_conflict(tmp_path):
    """Code 5, after retries in the known words."""

    async def story(stage):
        stage.misbehave(session_retry_seconds=0.05, session_conflict_seconds=0.1)
        await stage.configured()
        async with stage.listening():
            code, _, err = await stage.call("run")
        assert code == 5
        assert "A session for this runner already exists.\n" in err
        assert "Stop retry on SessionConflictException after retried for 0.1 seconds.\n" in err

    life(tmp_path, story)


@pytest.mark.parametrize(("asked", "code"), [("1", 7), ("", 1)])
def test_a_deprecated_version_is_code_7_only_if_asked_for(tmp_path, asked, code):
    """Otherwise it is a plain 1."""

    async def story(stage):
        await stage.configured()
        env = {"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": asked}
        ended_with, _, err = await stage.call("run", **env)
        assert ended_with == code
        assert "Runner version v2.336.0 is deprecated and cannot receive messages." in err

    life(tmp_path, story, deprecated_versions=["2.336.0"])


def test_a_worker_that_vanishes_abandons_its_job(tmp_path):
    """crash-in-job: the listener dies, its worker too, the step stays; GitHub gives up."""

    async def story(stage):
        stage.misbehave(run="crash-in-job")
        await stage.configured()
        job = stage.queue("echo pid $$; sleep 300")
        code, out, _ = await stage.call("run")
        assert code == -signal.SIGABRT
        assert "Running job: build" in out
        await stage.until(lambda: job.state == "completed")
        assert (job.result, list(stage.world.runners)) == ("abandoned", [])
        for pid in children_of(stage.root):
            os.kill(pid, signal.SIGKILL)

    life(tmp_path, story, lost_after=8)


def children_of(root):
    """Find what still runs a script of this root, or began in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cwd").readlink().is_relative_to(root):
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("knob", "code", "text"),
    [
        ("fail-network", 1, "Resource temporarily"),
        ("name-taken", 1, "same name"),
        ("exit:3", 3, ""),
    ],
)
def test_configure_misbehaves_as_often_as_told(tmp_path, knob, code, text):
    """Then it is honest again."""

    async def story(stage):
        stage.misbehave(configure={"kind": knob, "count": 2})
        for _ in range(2):
            ended_with, _, err = await stage.configure()
            assert (ended_with, text in err) == (code, True)
        await stage.configured()

    life(tmp_path, story)


def test_half_a_configuration_is_registered_and_not_saved(tmp_path):
    """GitHub knows the runner; `.runner` is not there."""

    async def story(stage):
        stage.misbehave(configure="half")
        code, _, _ = await stage.configure()
        assert code == -signal.SIGKILL
        assert len(list(stage.world.runners)) == 1
        assert not (stage.root / ".runner").exists()

    life(tmp_path, story)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_ends_configure_at_once(tmp_path, number, code):
    """Even while it hangs."""

    async def story(stage):
        stage.misbehave(configure="hang")
        flags = ("--unattended", "--url", stage.url, "--token", "x")
        child = await stage.start("configure", *flags)
        await line(child, "# Authentication")
        child.send_signal(number)
        assert (await ended(child))[0] == code

    life(tmp_path, story)


@pytest.mark.parametrize(
    ("knob", "code"),
    [("crash-before-listening", -6), ("crash-after-listening", -6), ("exit:2", 2)],
)
def test_run_crashes_as_told(tmp_path, knob, code):
    """A crash is an abort, as .NET's is."""

    async def story(stage):
        stage.misbehave(run=knob)
        await stage.configured()
        ended_with, out, _ = await stage.call("run")
        assert ended_with == code
        assert ("Listening for Jobs" in out) is (knob == "crash-after-listening")

    life(tmp_path, story)


def test_a_deaf_listener_hears_no_signal(tmp_path):
    """ignore_signals: only a kill ends it."""

    async def story(stage):
        stage.misbehave(ignore_signals=True)
        await stage.configured()
        async with stage.listening() as child:
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
            job = stage.queue("true")
            assert (await ended(child))[0] == 0
        assert job.result == "succeeded"

    life(tmp_path, story)


def test_a_daemon_may_stay_behind(tmp_path):
    """spawn_daemon: it outlives job and listener, unmarked, and `_diag/daemon.pid` names it."""

    async def story(stage):
        stage.misbehave(spawn_daemon=True)
        await stage.configured()
        stage.queue("until [ -s ../../../_diag/daemon.pid ]; do :; done")
        await stage.call("run")
        pid = int((stage.root / "_diag" / "daemon.pid").read_text())
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)

    life(tmp_path, story)


def test_a_step_s_own_children_end_with_it(tmp_path):
    """A shell waits for its child after SIGINT; SIGTERM ends the shell, clean-up the child."""

    async def story(stage):
        stage.misbehave(**FAST, step_terminate_seconds=30)  # its shell may be slow to end
        await stage.configured()
        job = stage.queue("(echo began; exec sleep 300)")
        async with stage.listening() as child:
            await stage.until(lambda: "\nbegan" in job.steps[0].log)
            child.send_signal(signal.SIGINT)
            assert (await ended(child))[0] == 0
        assert "Terminate orphan process: pid" in job.runner_logs["Complete job"]
        assert [pid for pid in children_of(stage.root) if alive(pid)] == []

    life(tmp_path, story)


def test_a_copy_of_a_root_is_a_root(tmp_path):
    """An image or a test may lay it out once and copy it."""
    shutil.copytree(install(tmp_path / "first"), tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    listener = tmp_path / "second" / "bin" / "Runner.Listener"
    said = subprocess.run([listener, "warmup"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("script", ["config.sh", "run.sh"])
def test_the_scripts_refuse_root_and_hide_outcomes(tmp_path, script):
    """As GitHub's: uid 0 needs RUNNER_ALLOW_RUNASROOT; run.sh makes 0 of a 1."""
    root = install(tmp_path / "runner")
    if os.geteuid() == 0:
        said = subprocess.run([root / script], capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout.startswith("Must not run")) == (1, True)
    env = {**os.environ, "RUNNER_ALLOW_RUNASROOT": "1"}
    said = subprocess.run([root / script], capture_output=True, text=True, check=False, env=env)
    wanted = (0, "Not configured") if script == "run.sh" else (1, "Invalid configuration")
    assert (said.returncode, wanted[1] in said.stderr) == (wanted[0], True)


@pytest.mark.root
def test_another_user_can_run_it(open_path):
    """The installer is root; the runner's user owns the root folder and nothing in bin/."""

    async def story(stage):
        os.chown(stage.root, 65534, 65534)
        command = [stage.root / "bin" / "Runner.Listener", "configure", "--unattended"]
        command += ["--url", stage.url, "--token", stage.token(), "--name", "nobody"]
        child = await asyncio.create_subprocess_exec(
            *command, user=65534, group=65534, extra_groups=[], cwd=stage.root
        )
        assert await asyncio.wait_for(child.wait(), PATIENCE) == 0
        assert (stage.root / ".runner").stat().st_uid == 65534

    life(open_path, story)
