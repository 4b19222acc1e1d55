"""Run containers that ask for credentials in every way that there is, and name the roles they get.

A container asks by its own path, by the path of the job's steps, which it was given, and by its
address alone: the instance's metadata. Whose the credentials are, STS says.
"""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local import aws
from tests.engines import matrix, workflow
from tests.engines.far import ECS_AGENT, INSTANCE_METADATA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

IMAGE = "asker"
"""A shell and curl: nothing needs to be mounted, so builds and compose can use it too."""
NOTHING = "403"
UNREACHED = "000"
WAYS = ("own path", "job's path", "address")
ALL_NOTHING = dict.fromkeys(WAYS, NOTHING)

_CURL = "curl --silent --max-time 60 --retry ${RETRY:-20} --retry-delay 1"
"""It comes again after "not yet", as AWS' clients do."""
_ROLES = f"http://{INSTANCE_METADATA}/latest/meta-data/iam/security-credentials/"
_TOKEN = f"http://{INSTANCE_METADATA}/latest/api/token"
# The own path comes last: by it the agent would ask the engine for the container's address.
SCRIPT = f"""
ask() {{ echo "{{$1: $({_CURL} --write-out ' %{{http_code}}' --header "$3" "$2")}}"; }}
by_address() {{
    seconds='X-aws-ec2-metadata-token-ttl-seconds: 60'
    token="X-aws-ec2-metadata-token: $({_CURL} -X PUT --header "$seconds" {_TOKEN})"
    ask "address" "{_ROLES}$({_CURL} --fail --header "$token" {_ROLES})" "$token"
}}
by_address
ask "job's path" "http://{ECS_AGENT}$JOB_PATH"
if [ -n "${matrix.RELATIVE_URI}" ]; then
    ask "own path" "http://{ECS_AGENT}${matrix.RELATIVE_URI}"
fi
"""


def add_image(engine: Engine, root: Path) -> None:
    """Have the engine know the image; `root` is a Debian's folder."""
    engine.docker("import", "-", IMAGE, text=workflow.pack_programs(root))


@dataclass
class Askers:
    """The containers of one job, and what STS says of their credentials."""

    engine: Engine
    """The engine, as the job has it."""
    task: Task
    job_path: str
    """The path of the job's steps, which every container here is given too."""
    names: dict[str, str] = field(default_factory=dict)
    """The roles of the keys that were asked about."""

    def run(self, *options: str) -> dict[str, str]:
        """Run a container that asks once; return the role that it got by each way."""
        argv = (*options, *self._given, IMAGE, "sh", "-c", SCRIPT)
        return self.read(self.engine.docker_run(*argv))

    def start(self, *options: str) -> str:
        """Start a container that waits; return its id."""
        argv = ("run", "--detach", "--interactive", *options, *self._given, IMAGE, "cat")
        return self.engine.docker(*argv).strip()

    def ask(self, container: str, *, patient: bool = True) -> dict[str, str]:
        """Have a container that runs ask; return the role that it got by each way.

        It comes again after "not yet" if it is `patient`.
        """
        retry = () if patient else ("--env=RETRY=0",)
        return self.read(self.engine.docker("exec", *retry, container, "sh", "-c", SCRIPT))

    def remove(self, *containers: str) -> None:
        """Remove containers at once."""
        self.engine.docker("rm", "--force", *containers)

    @property
    def _given(self) -> tuple[str, ...]:
        return (f"--env=JOB_PATH={self.job_path}",)

    def build(self, env: Mapping[str, str], *options: str) -> dict[str, str]:
        """Build an image whose one step asks; return the role that it got by each way."""
        command = json.dumps(["sh", "-c", f"JOB_PATH={self.job_path}; {SCRIPT}"])
        text = f"FROM {IMAGE}\nRUN {command}\n".encode()
        argv = ("build", "--no-cache", *options, "-")
        return self.read(self.engine.docker(*argv, text=text, env=env, timeout=matrix.TIMEOUT))

    def read(self, output: str) -> dict[str, str]:
        """Return the role, or the status, of each answer in an output."""
        found = re.findall(r"\{([\w' ]+): (.*?) ?(\d{3})\}", output, re.DOTALL)
        assert found, output
        return {way: self._name(body, status) for way, body, status in found}

    def _name(self, body: str, status: str) -> str:
        key = re.search(r'"AccessKeyId": ?"(\w+)"', body)
        if status != "200" or key is None:
            return status
        if key[1] not in self.names:
            self.names[key[1]] = self.task.space.call(lambda: _identify(self.task.aws, key[1]))
        return self.names[key[1]]


def _identify(sts: str, key: str) -> str:
    """Ask STS which role a key is of. The stand-in finds it by the key, and checks no signature."""
    signed = f"AWS4-HMAC-SHA256 Credential={key}/20260101/{aws.REGION}/sts/aws4_request"
    request = urllib.request.Request(
        sts,
        b"Action=GetCallerIdentity&Version=2011-06-15",
        {"Authorization": f"{signed}, SignedHeaders=host, Signature=0"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = answer.read().decode()
    found = re.search(r"assumed-role/([^/<]+)", said)
    return found[1] if found else said
