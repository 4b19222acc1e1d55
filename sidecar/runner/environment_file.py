"""Read the runner's file `.env`, whose variables win over the listener's own environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_lines(content: bytes | None) -> list[str]:
    """Return the lines of an environment file; none of a missing one."""
    return content.decode("utf-8-sig", "replace").splitlines() if content else []


def read_variables(content: bytes | None) -> dict[str, str]:
    """Return the variables of an environment file."""
    pairs = (line.partition("=") for line in read_lines(content))
    return {key: value for key, _, value in pairs if value}


def remove_variables(content: bytes | None, variables: Iterable[str]) -> bytes | None:
    """Return the file without these variables; None if it has none of them."""
    unwanted = tuple(f"{variable}=" for variable in variables)
    lines = read_lines(content)
    kept = [line for line in lines if not line.startswith(unwanted)]
    return None if kept == lines else "".join(f"{line}\n" for line in kept).encode()
