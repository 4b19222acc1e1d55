"""Write where the job runs into `.setup_info`, which every job's first log group shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from sidecar import __version__, host

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.aws.instance_facts import Facts

log = structlog.get_logger()


def write_facts(path: Path, facts: Facts) -> None:
    """Write the agent's group into the file at `path`; the image's groups stay."""
    lines = [f"{key}: {fact}" for key, fact in facts.lines.items() if fact]
    lines.append(f"Agent: runner-sidecar {__version__}")
    groups = [group for group in _read_groups(path) if group.get("group") != facts.title]
    groups.append({"group": facts.title, "detail": "\n".join(lines)})
    try:
        host.write_new(path, json.dumps(groups).encode(), 0o644, None)
    except OSError as error:  # it only informs: the job can run without it
        log.warning("runner.setup_info_failed", reason=error.strerror or str(error))


def _read_groups(path: Path) -> list[dict[str, str]]:
    found = host.read_regular(path)
    try:
        groups = json.loads(found[0].decode("utf-8-sig")) if found else []
    except (ValueError, RecursionError):
        return []
    listed = groups if isinstance(groups, list) else []
    return [group for group in listed if isinstance(group, dict)]
