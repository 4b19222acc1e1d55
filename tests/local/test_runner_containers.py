"""The stand-in runner's containers, with a docker client that only answers.

`tests/engines/test_workflows.py` has the same with real engines.
"""

import shutil
import signal

import pytest

from tests.local.test_runner_program import FAST, Stage, ended, life, line
from tests.support import docker_commands as table
from tests.support.docker_commands import Recorder

_CLIENT = """\
#!/bin/sh
# Answer as docker does; `sleepy` in a command's words makes it wait for a signal.
id=1111111111111111111111111111111111111111111111111111111111111111
case "$*" in
login*|*" login "*) echo "password $(cat)" ;;
*broken*) echo "no such image" >&2; exit 1 ;;
version*) echo "'1.41'" ;;
create*) echo $id ;;
"ps --all --filter"*) echo "$id Up" ;;
*Health*)
    echo x >>{folder}/health
    [ "$(wc -l <{folder}/health)" -gt 2 ] && echo {healthy} || echo starting ;;
*"range .Config.Env"*) echo PATH=/inside; echo OTHER=1 ;;
port*) echo "8080/tcp -> 0.0.0.0:32768" ;;
run*|exec*)
    echo "path $PATH, greeting $GREETING, workspace $GITHUB_WORKSPACE"
    if [ -n "$SLEEPY" ]; then
        trap 'echo interrupted; exit 130' INT
        echo "asleep"
        while :; do sleep 0.02; done
    fi ;;
esac
"""


class DockerStage(Stage):
    """A stage whose PATH has the client that only answers."""

    def prepare(self, healthy="healthy", **knobs):
        """Write the client and its recorder."""
        client = self.root.parent / "client"
        folder = self.root.parent
        client.write_text(_CLIENT.replace("{folder}", str(folder)).replace("{healthy}", healthy))
        client.chmod(0o755)
        self.recorder = Recorder(folder / "recorder")
        self.recorder.install(str(client))
        # A client that has a trap for SIGINT has all the time to come to it.
        self.misbehave(**FAST, step_interrupt_seconds=60, **knobs)

    async def start(self, *words, **env):
        """Start the listener with the client before any other in PATH."""
        path = f"{self.recorder.folder}:/usr/bin:/bin"
        return await super().start(*words, **{"PATH": path, **env})

    async def run_job(self, *steps, **more):
        """Configure a runner and run a job to its end; return the job."""
        self.prepare(**more.pop("prepare", {}))
        await self.configured()
        job = self.queue(*steps, **more)
        async with self.listening() as child:
            await ended(child)
        return job

    def table(self):
        """Return the commands so far as a table."""
        return self.recorder.read({str(self.root): "ROOT", "demo/demo": "REPO/REPO"})


def lines(*parts):
    """Return the lines of the parts of a table."""
    return "".join(parts).splitlines()


def play(tmp_path, story):
    """Run a story on a stage with docker."""
    life(tmp_path, story, kind=DockerStage)


DATABASE = {"db": {"image": "db:1", "ports": ["8080/tcp"], "env": {"A": "1", "B": ""}}}
STARTED = (
    table.VERSIONS,
    table.CLEAN_UP,
    table.job_container("base", "base"),
    table.service("db:1", "db1", "db", " -p 8080/tcp -e A=1 -e B"),
    table.HEALTH,
    table.HEALTH,
    table.HEALTH,
)
STOPPED = (table.REMOVE_JOB_CONTAINER, table.REMOVE_SERVICE, table.REMOVE_NETWORK)


def test_a_job_container_and_a_service(tmp_path):
    """Every command in its order, with its arguments; the step runs in the job container."""

    async def story(stage):
        job = await stage.run_job(
            "echo hello", container="base", services=DATABASE, env={"GREETING": "hi"}
        )
        assert job.result == "succeeded", job.log()
        assert stage.table() == lines(*STARTED, table.STEP, *STOPPED)
        assert "greeting hi, workspace /__w/demo/demo" in job.steps[0].log
        assert list(job.runner_logs) == [
            "Set up job",
            "Initialize containers",
            "Stop containers",
            "Complete job",
        ]

    play(tmp_path, story)


def test_container_options(tmp_path):
    """Credentials log in before the pull; volumes, options and variables stand in their places."""

    async def story(stage):
        container = {
            "image": "registry.example:5000/team/base",
            "credentials": {"username": "me", "password": "secret"},
            "volumes": ["/data:/data", "/cache"],
            "options": '--user 1:2 --label "a b"',
            "env": {"K": "V"},
        }
        job = await stage.run_job("true", container=container)
        assert job.result == "succeeded", job.log()
        config = "--config ROOT/_work/_temp/.docker_GUID "
        host = "registry.example:5000"
        options = " --user 1:2 --label a b -e K=V"
        started = table.job_container(
            f"{host}/team/base",
            "registryexample5000teambase",
            options,
            " -v /data:/data -v /cache",
        )
        assert stage.table() == lines(
            table.VERSIONS,
            table.CLEAN_UP,
            f"{config}login {host} -u me --password-stdin\n{config}{started}",
            table.STEP,
            table.REMOVE_JOB_CONTAINER,
            table.REMOVE_NETWORK,
        )

    play(tmp_path, story)


def test_actions(tmp_path):
    """Images are pulled before the job; a Dockerfile is built at its step, and for its post step.

    Without a job container there is no network to name.
    """
    action = '{"runs": {"using": "docker", "image": "Dockerfile", "post-entrypoint": "/after"}}'

    async def story(stage):
        job = await stage.run_job(
            f"mkdir act; touch act/Dockerfile; echo '{action}' >act/action.yml",
            {"uses": "docker://tool:1", "with": {"args": 'one "two three"'}},
            {"uses": "./act", "with": {"who is": "me"}},
        )
        assert job.result == "succeeded", job.log()
        folder = "ROOT/_work/REPO/REPO/act"
        build = f"build -t LABEL:GUID -f {folder}/Dockerfile {folder}\n"
        post = table.action("LABEL:GUID", "LABELGUID", network=False)
        assert stage.table() == lines(
            "pull tool:1\n",
            table.action("tool:1", "tool1", " one two three", network=False),
            build,
            post,
            build,
            post.replace("CI=true", "CI=true --entrypoint /after"),
        )
        ran = stage.recorder.commands()[3]
        assert "INPUT_WHO_IS" in ran

    play(tmp_path, story)


def test_a_node_action_in_a_job_container(tmp_path):
    """It is asked which system the container has; then the runner's own node runs there."""
    action = '{"runs": {"using": "node20", "main": "index.js"}}'

    async def story(stage):
        stage.prepare()
        await stage.configured()
        folder = stage.root / "_work" / "demo" / "demo" / "act"
        folder.mkdir(parents=True)
        (folder / "action.yml").write_text(action)
        job = stage.queue({"uses": "./act"}, container="base")
        async with stage.listening() as child:
            await ended(child)
        assert job.result == "succeeded", job.log()
        node = table.NODE.format(main="/__w/REPO/REPO/act/index.js").splitlines()
        assert [each for each in stage.table() if each.startswith("exec")] == node

    play(tmp_path, story)


def test_a_path_that_a_step_adds(tmp_path):
    """It stands before the container's own PATH."""

    async def story(stage):
        stage.prepare()
        await stage.configured()
        hook = stage.root / "hook.sh"
        hook.write_text('echo "$GITHUB_WORKSPACE/tools" >>"$GITHUB_PATH"')
        stage.queue("true", container="base")
        async with stage.listening(ACTIONS_RUNNER_HOOK_JOB_STARTED=str(hook)) as child:
            await ended(child)
        (step,) = [each for each in stage.recorder.commands() if each[0] == "exec"]
        assert "PATH=/__w/demo/demo/tools:/inside" in step

    play(tmp_path, story)


def test_an_image_that_cannot_be_pulled(tmp_path):
    """Three tries; the job fails, and what had started is removed."""

    async def story(stage):
        job = await stage.run_job("true", container="broken", services=DATABASE)
        assert job.result == "failed"
        assert stage.table() == lines(
            table.VERSIONS, table.CLEAN_UP, "pull broken\n" * 3, table.REMOVE_NETWORK
        )
        assert job.steps[0].result == "skipped"

    play(tmp_path, story)


def test_an_unhealthy_service(tmp_path):
    """Its log is shown, and the job fails."""

    async def story(stage):
        job = await stage.run_job(
            "true", container="base", services=DATABASE, prepare={"healthy": "unhealthy"}
        )
        assert job.result == "failed"
        assert stage.table() == lines(*STARTED, "logs --details ID\n", *STOPPED)

    play(tmp_path, story)


@pytest.mark.parametrize("where", ["exec", "action"])
def test_a_cancel_removes_all_containers(tmp_path, where):
    """Docker dies at the first SIGINT; after GitHub's cancel the runner removes what it started.

    A cancelled docker action's own container is not among that.
    """

    async def story(stage):
        stage.prepare()
        await stage.configured()
        step = "true" if where == "exec" else {"uses": "docker://tool"}
        job = stage.queue(step, container="base", services=DATABASE, env={"SLEEPY": "1"})
        async with stage.listening() as child:
            await stage.until(lambda: "asleep" in job.steps[0].log)
            stage.world.cancel(job)
            await ended(child)
        assert job.result == "canceled"
        assert "interrupted" in job.steps[0].log
        pulled = ["pull tool\n"] if where == "action" else []
        ran = table.STEP if where == "exec" else table.action("tool", "tool")
        assert stage.table() == lines(*pulled, *STARTED, ran, *STOPPED)

    play(tmp_path, story)


def test_a_shutdown_removes_nothing(tmp_path):
    """Containers and network stay as they are."""

    async def story(stage):
        stage.prepare()
        await stage.configured()
        job = stage.queue("true", container="base", services=DATABASE, env={"SLEEPY": "1"})
        async with stage.listening() as child:
            await stage.until(lambda: "asleep" in job.steps[0].log)
            child.send_signal(signal.SIGINT)
            await ended(child)
        await stage.until(lambda: job.state == "completed")
        assert job.result == "failed"
        assert stage.table() == lines(*STARTED, table.STEP)

    play(tmp_path, story)


def test_a_job_without_docker(tmp_path):
    """A job that needs docker fails with the reason where there is none."""

    async def story(stage):
        stage.prepare()
        shutil.rmtree(stage.recorder.folder)
        await stage.configured()
        job = stage.queue("true", container="base")
        async with stage.listening(PATH="/nowhere") as child:
            await line(child, "completed with result: Failed")
            await ended(child)
        assert "File not found: 'docker'" in job.log()

    play(tmp_path, story)
