"""Write the README's table of which clients get the task role, in which containers.

`python -m tests.engines.table` runs all clients and writes the table. A cell names the engines on
which a client got the role, both with the URI that a job has and with nothing set: ✓ on all, no on
none.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from local import aws
from tests.engines import lives, matrix, places, roots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engines.matrix import ClientResult

README = roots.REPOSITORY / "README.md"
ENGINES = {places.DEBIAN_12: "20.10", places.DEBIAN_13: "26.1"}
"""The engines' names in the table."""
ROLE = aws.TASK_ROLE.rpartition("/")[2]

_BEGIN, _END = "<!-- clients: written by python -m tests.engines.table -->\n", "<!-- /clients -->\n"
_ALL, _NONE = "✓", "no"


def find_clients(answers: Mapping[str, Mapping[str, ClientResult]]) -> set[str]:
    """Return the clients that got the role in every variant."""
    return {
        client
        for client in matrix.CLIENTS
        if all(found[client].role == ROLE for found in answers.values())
    }


def render(clients: Mapping[str, Mapping[str, set[str]]]) -> str:
    """Return the table; `clients[engine][where]` are the clients that get the role."""
    rows = [("from", *matrix.CLIENTS), ("---",) * (1 + len(matrix.CLIENTS))]
    for where in matrix.CONTAINER_KINDS:
        engines = [
            [ENGINES[kind] for kind in ENGINES if client in clients[kind][where]]
            for client in matrix.CLIENTS
        ]
        rows.append((where, *map(_cell, engines)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(engines: list[str]) -> str:
    return _ALL if len(engines) == len(ENGINES) else ", ".join(engines) or _NONE


def read_clients(kind: str, where: str) -> set[str]:
    """Return the clients that get the role according to the README."""
    _, _, table = README.read_text().partition(_BEGIN)
    for line in table.partition(_END)[0].splitlines():
        name, *cells = re.findall(r"\| ([^|]+) ", line)
        if name == where:
            return {
                client
                for client, cell in zip(matrix.CLIENTS, cells, strict=True)
                if cell == _ALL or ENGINES[kind] in cell
            }
    raise AssertionError(f"the README has no row {where}")


def write(table: str) -> None:
    """Replace the README's table."""
    before, _, rest = README.read_text().partition(_BEGIN)
    README.write_text(before + _BEGIN + table + _END + rest.partition(_END)[2])


def main() -> None:
    """Run all clients in all kinds of containers; write the table."""
    clients: dict[str, dict[str, set[str]]] = {}
    root = roots.create()
    for kind in places.KINDS:
        with places.create(kind, root) as place, lives.run_life(place) as life:
            uri = life.environment[matrix.RELATIVE_URI]
            for where in matrix.CONTAINER_KINDS:
                started = time.monotonic()
                answers = matrix.ask_all(place, where, uri)
                clients.setdefault(kind, {})[where] = find_clients(answers)
                print(f"{kind}, {where}: {time.monotonic() - started:.0f} s", flush=True)
                for variant, found in answers.items():
                    for one in found.values():
                        if one.role != ROLE:
                            print(f"  {variant}: {one.client}: {one.role or one.error}")
    write(render(clients))


if __name__ == "__main__":
    main()
