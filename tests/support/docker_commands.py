"""The docker commands of a job, as the actions runner 2.336.0 was seen to give them.

A wrapper called `docker`, before the client in PATH, writes down each command. `Recorder.read`
replaces what differs from job to job by a word in capitals, so that the rest can be compared with
a table: one line for a command, its words separated by a blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WRAPPER = """\
#!/bin/sh
{{ printf '%s\\037' "$@"; printf '\\036'; }} | dd bs=64k iflag=fullblock 2>/dev/null >>{log}
exec {program} "$@"
"""

_REPLACED = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\b[0-9a-f]{32}(?=_|$| )", "GUID"),
    (r"(?<=_)[0-9a-f]{32}\b", "GUID"),
    (r"(?<=[A-Za-z0-9]_)[0-9a-f]{6}(?= |$)", "HEX"),
    (r"(?<=label=)[0-9a-f]{6}\b", "LABEL"),
    (r"(?<=--label )[0-9a-f]{6}\b", "LABEL"),
    (r"\b[0-9a-f]{6}:(GUID)\b", r"LABEL:\1"),
    (r"\b[0-9a-f]{38}(?=_HEX)", "LABELGUID"),
    (r"( -e \w+(?![\w=])){5,}", " -e NAME…"),
)


@dataclass(frozen=True)
class Recorder:
    """A folder that holds the wrapper, and the log that it writes."""

    folder: Path

    @property
    def _log(self) -> Path:
        return self.folder / "commands"

    def install(self, program: str) -> None:
        """Write the wrapper around `program`, which every user may run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._log.touch()
        self._log.chmod(0o666)
        wrapper = self.folder / "docker"
        wrapper.write_text(_WRAPPER.format(log=self._log, program=program))
        wrapper.chmod(0o755)

    def commands(self) -> list[list[str]]:
        """Return the words of each command so far."""
        records = self._log.read_text().split("\x1e")[:-1]
        return [record.split("\x1f")[:-1] for record in records]

    def read(self, names: Mapping[str, str]) -> list[str]:
        """Return the commands so far, as in a table; `names` are paths and the words for them."""
        lines = []
        for words in self.commands():
            line = " ".join(words)
            for path, name in names.items():
                line = line.replace(path, name)
            for pattern, replacement in _REPLACED:
                line = re.sub(pattern, replacement, line)
            lines.append(line)
        return lines


VERSIONS = """\
version --format '{{.Server.APIVersion}}'
version --format '{{.Client.APIVersion}}'
"""

CLEAN_UP = """\
ps --all --quiet --no-trunc --filter label=LABEL
network prune --force --filter label=LABEL
network create --label LABEL github_network_GUID
"""

MOUNTS = (
    "-v /var/run/docker.sock:/var/run/docker.sock{volumes} -v ROOT/_work:/__w "
    "-v ROOT/externals:/__e:ro -v ROOT/_work/_temp:/__w/_temp -v ROOT/_work/_actions:/__w/_actions "
    "-v ROOT/_work/_tool:/__w/_tool -v ROOT/_work/_temp/_github_home:/github/home "
    "-v ROOT/_work/_temp/_github_workflow:/github/workflow"
)

START = """\
start ID
ps --all --filter id=ID --filter status=running --no-trunc --format {{.ID}} {{.Status}}
"""


def job_container(image: str, name: str, options: str = "", volumes: str = "") -> str:
    """Return the commands that start the job container; `name` is the image in its name."""
    mounts = MOUNTS.format(volumes=volumes)
    return (
        f"pull {image}\ncreate --name GUID_{name}_HEX --label LABEL --workdir /__w/REPO/REPO "
        f"--network github_network_GUID{options} -e HOME=/github/home -e GITHUB_ACTIONS=true "
        f"-e CI=true {mounts} --entrypoint tail {image} -f /dev/null\n{START}"
        "inspect --format {{range .Config.Env}}{{println .}}{{end}} ID\n"
    )


def service(image: str, name: str, alias: str, options: str = "", volumes: str = "") -> str:
    """Return the commands that start a service; `options` has its ports, options and `-e`."""
    return (
        f"pull {image}\ncreate --name GUID_{name}_HEX --label LABEL --network github_network_GUID "
        f"--network-alias {alias}{options} -e GITHUB_ACTIONS=true -e CI=true{volumes} {image}\n"
        f"{START}port ID\n"
    )


HEALTH = "inspect --format={{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}} ID\n"

STEP = "exec -i --workdir /__w/REPO/REPO -e NAME… ID sh -e /__w/_temp/UUID.sh\n"

NODE = """\
exec ID sh -c cat /etc/*release | grep ^ID
exec -i --workdir /__w/REPO/REPO -e NAME… ID /__e/node20/bin/node {main}
"""


def action(image: str, name: str, arguments: str = "", network: bool = True) -> str:
    """Return the command that runs a docker action."""
    within = " --network github_network_GUID" if network else ""
    return (
        f"run --name {name}_HEX --label LABEL --workdir /github/workspace --rm -e NAME… "
        f"-e GITHUB_ACTIONS=true -e CI=true{within} -v /var/run/docker.sock:/var/run/docker.sock "
        "-v ROOT/_work/_temp:/github/runner_temp -v ROOT/_work/_temp/_github_home:/github/home "
        "-v ROOT/_work/_temp/_github_workflow:/github/workflow "
        "-v ROOT/_work/_temp/_runner_file_commands:/github/file_commands "
        f"-v ROOT/_work/REPO/REPO:/github/workspace {image}{arguments}\n"
    )


REMOVE_JOB_CONTAINER = "rm --force ID\n"
REMOVE_SERVICE = "logs --details ID\nrm --force ID\n"
REMOVE_NETWORK = "network rm github_network_GUID\n"
