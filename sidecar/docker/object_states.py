"""Ask the engine which of some containers or networks there are, however long their labels are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from sidecar.docker.engine import AnswerTooLong

if TYPE_CHECKING:
    from collections.abc import Collection

    from sidecar.docker.engine import Engine

CONTAINERS, NETWORKS = "/containers/json?all=1&", "/networks?"
UNKNOWN = ""
"""The state of an object whose description is too long to be read; networks have no other."""
_AT_ONCE = 100
"""Objects that one request asks for."""


async def read_states(engine: Engine, path: str, ids: Collection[str]) -> dict[str, str]:
    """Return the state of each of these objects that there is. Raises EngineError.

    A description has all labels, and a job chooses these. If the answer is longer than is read, the
    engine is asked again, for half of the objects each time.
    """
    waiting = list(ids)
    groups = [waiting[at : at + _AT_ONCE] for at in range(0, len(waiting), _AT_ONCE)]
    found: dict[str, str] = {}
    while groups:
        some = groups.pop()
        try:
            answer = await engine.get(f"{path}filters={quote(json.dumps({'id': some}))}")
        except AnswerTooLong:
            half = len(some) // 2
            if half == 0:
                found[some[0]] = UNKNOWN
            else:
                groups += [some[:half], some[half:]]
            continue
        for one in answer if isinstance(answer, list) else ():
            if isinstance(one, dict) and one.get("Id") in some:
                found[str(one["Id"])] = str(one.get("State") or UNKNOWN)
    return found
