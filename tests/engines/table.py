"""The README's table of who gets the task role, from where.

`python -m tests.engines.table` asks, and writes it. A cell says on which engines a client got the
role, both with the URI that a job has and with nothing set: ✓ on all, no on none.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from local import aws
from tests.engines import lives, matrix, places, roots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engines.matrix import Found

README = roots.REPOSITORY / "README.md"
ENGINES = {places.OWN: "20.10", places.DEBIAN_13: "26.1"}
"""What the engines call themselves in the table."""
ROLE = aws.TASK_ROLE.rpartition("/")[2]

_BEGIN, _END = "<!-- clients: written by python -m tests.engines.table -->\n", "<!-- /clients -->\n"
_ALL, _NONE = "✓", "no"


def who(answers: Mapping[str, Mapping[str, Found]]) -> set[str]:
    """Return which clients got the role, whichever way they asked."""
    return {
        client
        for client in matrix.CLIENTS
        if all(found[client].role == ROLE for found in answers.values())
    }


def rendered(gets: Mapping[str, Mapping[str, set[str]]]) -> str:
    """Return the table; `gets[engine][where]` are the clients that get the role."""
    rows = [("from", *matrix.CLIENTS), ("---",) * (1 + len(matrix.CLIENTS))]
    for where in matrix.PLACES:
        engines = [
            [ENGINES[kind] for kind in ENGINES if client in gets[kind][where]]
            for client in matrix.CLIENTS
        ]
        rows.append((where, *map(_cell, engines)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(engines: list[str]) -> str:
    return _ALL if len(engines) == len(ENGINES) else ", ".join(engines) or _NONE


def told(kind: str, where: str) -> set[str]:
    """Return which clients the README says get the role, on that engine, from there."""
    _, _, table = README.read_text().partition(_BEGIN)
    for line in table.partition(_END)[0].splitlines():
        name, *cells = re.findall(r"\| ([^|]+) ", line)
        if name == where:
            return {
                client
                for client, cell in zip(matrix.CLIENTS, cells, strict=True)
                if cell == _ALL or ENGINES[kind] in cell
            }
    raise AssertionError(f"the README does not tell of {where}")


def write(table: str) -> None:
    """Put the table where the README has it."""
    before, _, rest = README.read_text().partition(_BEGIN)
    README.write_text(before + _BEGIN + table + _END + rest.partition(_END)[2])


def main() -> None:
    """Ask everybody, everywhere; write the table."""
    gets: dict[str, dict[str, set[str]]] = {}
    root = roots.made()
    for kind in places.KINDS:
        with places.made(kind, root) as place, lives.living(place) as living:
            uri = living.environment[matrix.RELATIVE_URI]
            for where in matrix.PLACES:
                begun = time.monotonic()
                answers = matrix.asked(place, where, uri)
                gets.setdefault(kind, {})[where] = who(answers)
                print(f"{kind}, {where}: {time.monotonic() - begun:.0f} s", flush=True)
                for way, found in answers.items():
                    for one in found.values():
                        if one.role != ROLE:
                            print(f"  {way}: {one.client}: {one.role or one.error}")
    write(rendered(gets))


if __name__ == "__main__":
    main()
