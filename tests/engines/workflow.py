"""A job with containers of every kind, for the runner's stand-in: container, service, actions.

Its images come from a registry in the task, at an address that engines trust without TLS.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.engines import matrix
from tests.engines.engine import PATH, USERLAND
from tests.engines.far import ECS_AGENT
from tests.support import docker_commands as table
from tests.support import registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.tasks import Task

PORT = 5999
REGISTRY = f"127.0.0.1:{PORT}"
BASE, SPEAKER, ACTION = (f"{REGISTRY}/{name}" for name in ("base", "speaker", "action"))
"""The empty image, the same with a command of its own, and one that needs no mounts."""

ASK = f'env; curl --silent --max-time 10 "http://{ECS_AGENT}${matrix.RELATIVE_URI}"; echo'
"""Print the environment, and whose credentials this is given."""
_PROGRAMS = "usr/bin/dash usr/bin/curl usr/bin/cat usr/bin/env"
_PACK = rf"""
needed=$(for each in {_PROGRAMS}; do chroot . ldd /$each; done | grep -o '/[^ ]*' | sort -u)
tar --create --dereference --transform 's,usr/bin/dash,bin/sh,;s,usr/bin/,bin/,' \
    {_PROGRAMS} $(printf '.%s ' $needed)
"""
_NOTHING = bytes(10240)
"""An archive of no files."""

_STEP = r"""
echo "$GREETING"; pwd; echo "$HOME"
echo "from within" >"from the container"
cat "$GITHUB_EVENT_PATH"; echo
ls -d /__w/_temp /__w/_actions "$GITHUB_WORKSPACE" >/dev/null
stat --format 'socket %i' /var/run/docker.sock
docker version --format 'engine {{.Server.Version}}'
mkdir act
"""
_BUILT = {"runs": {"using": "docker", "image": "Dockerfile", "args": ["sh", "-c", ASK]}}
_MAKE_ACTION = f"""
echo {shlex.quote(json.dumps(_BUILT))} >act/action.yml
echo made >act/entry
printf 'FROM {ACTION}\\nCOPY entry /entry\\n' >act/Dockerfile
"""
_USERLAND = shlex.join(USERLAND)
_LISTEN = f"""
speaker=$(docker ps --quiet --filter ancestor={SPEAKER})
until docker logs $speaker | grep -q 'has spoken'; do sleep 0.05; done
"""


def quote(script: str) -> str:
    """Return `sh -c SCRIPT` as `args:` of a workflow, in which only double quotes count."""
    escaped = script.replace('"', r"\"")
    return f'sh -c "{escaped}"'


STEPS: dict[str, Any] = {
    "step": _STEP + _MAKE_ACTION,
    "step, identity": ASK,
    "step, container": f"docker run --rm {_USERLAND} {BASE} env",
    "action": {"uses": f"docker://{ACTION}", "with": {"args": quote(ASK), "who": "octocat"}},
    "action, built": {"uses": "./act", "with": {"who": "octocat"}},
    "action, entry": {"uses": "./act", "with": {"args": "cat /entry"}},
    "service": _LISTEN,
}
MORE = {
    "container": {"image": BASE, "options": _USERLAND},
    "services": {
        "speaker": {
            "image": SPEAKER,
            "options": _USERLAND,
            "ports": ["8080/tcp"],
            "env": {"OWN": "1"},
        }
    },
    "env": {"GREETING": "hi"},
}

_BUILD = "build -t LABEL:GUID -f ROOT/_work/REPO/REPO/act/Dockerfile ROOT/_work/REPO/REPO/act\n"
_OPTIONS = " ".join(USERLAND)
COMMANDS = "".join(
    (
        f"pull {ACTION}\n",
        table.VERSIONS,
        table.CLEAN_UP,
        table.job_container(BASE, "1270015999base", f" {_OPTIONS}"),
        table.service(SPEAKER, "1270015999speaker", "speaker", f" -p 8080/tcp {_OPTIONS} -e OWN=1"),
        table.HEALTH,
        table.STEP * 3,
        table.action(ACTION, "1270015999action", f" sh -c {ASK}"),
        _BUILD,
        table.action("LABEL:GUID", "LABELGUID", f" sh -c {ASK}"),
        _BUILD,
        table.action("LABEL:GUID", "LABELGUID", " cat /entry"),
        table.STEP * 2,  # the last one is that in which the life waits
        table.REMOVE_JOB_CONTAINER,
        table.REMOVE_SERVICE,
        table.REMOVE_NETWORK,
    )
).splitlines()
REMOVALS = 4
"""How many of them remove the containers and the network, at the end."""


def pack_programs(root: Path) -> bytes:
    """Return an archive of a shell, curl, cat and env; `root` is a Debian's folder."""
    argv = ["sh", "-ec", _PACK]
    return subprocess.run(
        argv, cwd=root, env={"PATH": PATH}, check=True, capture_output=True
    ).stdout


@contextmanager
def serve_images(task: Task, root: Path) -> Iterator[None]:
    """Serve the job's images in the task within the block; `root` is a Debian's folder."""
    images = registry.Images()
    images.add("base", _NOTHING)
    speak = f"{ASK}; echo 'has spoken'; exec tail -f /dev/null"
    images.add("speaker", _NOTHING, Cmd=["sh", "-c", speak])
    images.add("action", pack_programs(root))
    with registry.serve(images, PORT, task.space.enter):
        yield
