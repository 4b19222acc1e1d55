"""What the actions runner asks of docker for one job, in its order and with its arguments.

    python3 workflow.py IMAGE OPTIONS ACTION_IMAGE ARGV...

A job's step runs it in the runner's place, as the runner's user: with a job container, a service
container and two docker actions, one of them made from a Dockerfile. The arguments are those of
actions/runner 2.336 (ContainerOperationProvider, DockerCommandManager, ContainerStepHost,
ContainerActionHandler), but for the pull. OPTIONS are `options:` of the containers, as JSON; ARGV
is run in each of them. Prints `SAW {"what": …, "said": …}` for what comes of each command.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

PATIENCE = 120.0
"""Seconds for any one command."""
ROOT = Path(os.environ["LIFE_ROOT"])
WORKSPACE = Path(os.environ["GITHUB_WORKSPACE"])
TEMP = Path(os.environ["RUNNER_TEMP"])
WORK = TEMP.parent
TOOLS = Path(os.environ["RUNNER_TOOL_CACHE"])
LABEL = hashlib.sha256((ROOT / ".runner").read_bytes()).hexdigest()[:6]
SOCKET = "/var/run/docker.sock"
PLACES = ((str(WORK), "/__w"), (str(TOOLS), "/__t"), (str(ROOT / "externals"), "/__e"))
"""Where the runner's folders are in a job container; the first that fits counts."""
WATERMARK = ("-e", "GITHUB_ACTIONS=true", "-e", "CI=true")


def saw(what, said):
    """Tell what came of something."""
    print("SAW", json.dumps({"what": what, "said": said}), flush=True)


def docker(*argv, env=None):
    """Run docker where the runner does; return what it printed. Ends the program if it fails."""
    done = subprocess.run(
        ["docker", *argv],
        check=False,
        cwd=WORKSPACE,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        saw("failed", [argv, done.returncode, done.stdout, done.stderr])
        sys.exit(1)
    return done.stdout


def translated(path, places=PLACES):
    """Return where a folder of the runner's is in a container."""
    for here, there in places:
        if path == here or path.startswith(here + "/"):
            return there + path[len(here) :]
    return path


def name_of(image):
    """Return a display name as the runner makes one."""
    plain = "".join(char for char in image if char.isalnum())
    return f"{uuid.uuid4().hex}_{plain}_{uuid.uuid4().hex[:6]}"


def volume(source, target, *, read_only=False):
    """Return a mount's arguments."""
    return ("-v", f"{source}:{target}" + (":ro" if read_only else ""))


def begun(*create):
    """Create and start a container; return its id."""
    container = docker("create", *create).strip()
    docker("start", container)
    running = ("--filter", f"id={container}", "--filter", "status=running")
    state = docker("ps", "--all", *running, "--no-trunc", "--format", "{{.ID}} {{.Status}}")
    if not state.startswith(container):
        saw("failed", [create, docker("logs", container)])
        sys.exit(1)
    return container


def cleaned():
    """Remove what earlier jobs have left."""
    stale = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}").split()
    for container in stale:
        docker("rm", "--force", container)
    docker("network", "prune", "--force", "--filter", f"label={LABEL}")
    return stale


def service(network, image, options, argv):
    """Start a service container, as `services:` asks for; return its id."""
    about = ("--name", name_of(image), "--label", LABEL, "--network", network)
    known = ("--network-alias", "speaker", "-p", "8080/tcp")
    speaks = ("sh", "-c", '"$@"; touch /spoken; exec tail -f /dev/null', "sh", *argv)
    container = begun(*about, *known, *options, "-e", "OWN=1", *WATERMARK, image, *speaks)
    health = "{{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}"
    saw("service, health", docker("inspect", f"--format={health}", container))
    saw("service, port", docker("port", container))
    return container


def job_container(network, image, options):
    """Start the container that `container:` asks for, with all that the runner mounts."""
    home, workflow = TEMP / "_github_home", TEMP / "_github_workflow"
    home.mkdir(exist_ok=True)
    workflow.mkdir(exist_ok=True)
    about = ("--name", name_of(image), "--label", LABEL, "--workdir", translated(str(WORKSPACE)))
    mounts = (
        *volume(SOCKET, SOCKET),
        *volume(WORK, "/__w"),
        *volume(ROOT / "externals", "/__e", read_only=True),
        *volume(TEMP, translated(str(TEMP))),
        *volume(WORK / "_actions", translated(str(WORK / "_actions"))),
        *volume(TOOLS, translated(str(TOOLS))),
        *volume(home, "/github/home"),
        *volume(workflow, "/github/workflow"),
    )
    env = ("-e", "HOME=/github/home", *WATERMARK)
    entry = ("--entrypoint", "tail", image, "-f", "/dev/null")
    container = begun(*about, "--network", network, *options, *env, *mounts, *entry)
    env = docker("inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container)
    saw("job container, variables", env.splitlines())
    return container


def step(container, text, **env):
    """Run a step's script in the job container; return what it printed."""
    script = TEMP / f"{uuid.uuid4()}.sh"
    script.write_text(text)
    names = [word for name in (*env, "GITHUB_WORKSPACE") for word in ("-e", name)]
    within = ("--workdir", translated(str(WORKSPACE)))
    env["GITHUB_WORKSPACE"] = translated(str(WORKSPACE))
    run = ("sh", "-e", translated(str(script)))
    return docker("exec", "-i", *within, *names, container, *run, env=env)


def action(network, image, argv, **env):
    """Run a docker action to its end; return what it printed."""
    home, workflow = TEMP / "_github_home", TEMP / "_github_workflow"
    commands = TEMP / "_runner_file_commands"
    places = (
        (str(WORKSPACE), "/github/workspace"),
        (str(commands), "/github/file_commands"),
        (str(workflow), "/github/workflow"),
        (str(home), "/github/home"),
        (str(TEMP), "/github/runner_temp"),
    )
    env = {**env, "HOME": str(home), "GITHUB_WORKSPACE": str(WORKSPACE)}
    env = {name: translated(value, places) for name, value in env.items()}
    names = [word for name in env for word in ("-e", name)]
    about = ("--name", name_of(image), "--label", LABEL, "--workdir", "/github/workspace", "--rm")
    mounts = [*volume(SOCKET, SOCKET)]
    for here, there in reversed(places):
        mounts += volume(here, there)
    told = (*about, *names, *WATERMARK, "--network", network, *mounts)
    return docker("run", *told, image, *argv, env=env)


def built(folder):
    """Make the image of an action that has a Dockerfile."""
    image = f"{LABEL}:{uuid.uuid4().hex}"
    docker("build", "-t", image, "-f", str(folder / "Dockerfile"), str(folder))
    return image


def main(image, options, action_image, *argv):
    """Have a job with containers of every kind."""
    options = json.loads(options)
    saw("versions", docker("version", "--format", "{{.Server.APIVersion}}"))
    saw("stale", cleaned())
    network = f"github_network_{uuid.uuid4().hex}"
    docker("network", "create", "--label", LABEL, network)
    (WORKSPACE / "from the runner").write_text("hello")
    speaker = service(network, image, options, argv)
    container = job_container(network, image, options)
    saw("system", docker("exec", container, "sh", "-c", "cat /etc/*release | grep ^ID || true"))
    saw("node", docker("exec", container, "cat", "/__e/node20/bin/node"))
    hooked = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    hooked = {name: hooked[name] for name in hooked if not name.startswith("AWS_ENDPOINT")}
    nested = shlex.join(["docker", "run", "--rm", *options, image, "env"])
    saw("step", step(container, STEP, GREETING="hi", **hooked))
    saw("step, container", step(container, nested, **hooked))
    saw("step, written", (WORKSPACE / "from the container").read_text())
    saw("step, argv", docker("exec", container, *argv))
    folder = WORK / "_actions" / "octo" / "action" / "v1"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(f"FROM {action_image}\nCOPY entry /entry\n")
    (folder / "entry").write_text("made")
    own = built(folder)
    for name, which in (("action", action_image), ("action, built", own)):
        saw(name, action(network, which, argv, INPUT_WHO="octocat", **hooked))
    saw("action, entry", docker("run", "--rm", own, "cat", "/entry"))
    docker("exec", speaker, "sh", "-c", "until [ -e /spoken ]; do sleep 0.05; done")
    saw("service", docker("logs", "--details", speaker))
    for one in (container, speaker):
        docker("rm", "--force", one)
    docker("network", "rm", network)
    docker("rmi", own)
    saw("stale, after", cleaned())


STEP = """
echo "$GREETING"; pwd; echo "$HOME"; cat "from the runner"
echo "from within" >"from the container"
cat /github/workflow/event.json; ls -d /__w/_temp /__w/_actions "$GITHUB_WORKSPACE" >/dev/null
stat --format 'socket %i' /var/run/docker.sock
docker version --format 'engine {{.Server.Version}}'
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
