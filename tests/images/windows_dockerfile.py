"""Read images/windows/Dockerfile: its instructions, stage by stage."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "images" / "windows"
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


class Instruction(NamedTuple):
    """One instruction: its name, and what follows it on one line."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Its words, without options; of a list in brackets, the list."""
        bare = re.sub(r"^(--\S+\s+)+", "", self.rest)
        return json.loads(bare) if bare.startswith("[") else bare.split()

    @property
    def source_stage(self) -> str | None:
        """The stage that it copies from, if it does."""
        found = re.match(r"--from=(\S+)", self.rest)
        return found[1] if found else None


class Stage(NamedTuple):
    """One stage, or what comes before the first."""

    base: str
    name: str
    instructions: list[Instruction]

    def find(self, name: str) -> list[Instruction]:
        """Return its instructions of one name."""
        return [one for one in self.instructions if one.name == name]

    @property
    def arguments(self) -> set[str]:
        """The names of the build arguments that it declares."""
        return {one.rest.partition("=")[0] for one in self.find("ARG")}


def read_stages() -> list[Stage]:
    """Return what comes before the first stage, and then each stage."""
    joined = re.sub(r"`\n\s*", "", TEXT)
    lines = [line.strip() for line in joined.splitlines()]
    stages = [Stage("", "", [])]
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages.append(Stage(base, stage, []))
        else:
            stages[-1].instructions.append(Instruction(name, rest.strip()))
    return stages


BEFORE, *STAGES = read_stages()
BY_NAME = {stage.name: stage for stage in STAGES}
FINAL = STAGES[-1]
DEFAULTS = dict(one.rest.split("=", 1) for one in BEFORE.find("ARG"))


class Download(NamedTuple):
    """A call of unpack.py, with names of variables in it."""

    stage: Stage
    checksum: str
    folder: str
    url: str


def read_downloads() -> list[Download]:
    """Return every call of unpack.py."""
    call = re.compile(r'python \\build\\unpack\.py (\S+) ("[^"]+"|\S+) (\S+)$')
    return [
        Download(stage, found[1], found[2].strip('"'), found[3])
        for stage in STAGES
        for one in stage.find("RUN")
        if (found := call.match(one.rest))
    ]
