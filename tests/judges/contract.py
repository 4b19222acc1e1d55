"""Cut GitHub's own API description to the calls that concern runners and their jobs.

The whole file has 14 MB, and Prism needs many seconds to read it; it reads the cut one in one
second. To look at one: `python tests/judges/contract.py ghec > cut.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATED = Path(__file__).parent / "node_modules" / "@octokit" / "openapi" / "generated"

RUNNERS = (
    "/actions/runners",
    "/actions/runners/{runner_id}",
    "/actions/runners/registration-token",
    "/actions/runners/remove-token",
    "/actions/runners/generate-jitconfig",
)
HOOKS = (
    "/hooks",
    "/hooks/{hook_id}/deliveries",
    "/hooks/{hook_id}/deliveries/{delivery_id}",
    "/hooks/{hook_id}/deliveries/{delivery_id}/attempts",
)
PATHS = (
    *("/repos/{owner}/{repo}" + path for path in RUNNERS),
    *("/orgs/{org}" + path for path in RUNNERS),
    *("/enterprises/{enterprise}" + path for path in RUNNERS),
    "/orgs/{org}/installation",
    "/repos/{owner}/{repo}/installation",
    "/app/installations/{installation_id}/access_tokens",
    "/repos/{owner}/{repo}/actions/runs",
    "/repos/{owner}/{repo}/actions/runs/{run_id}",
    "/repos/{owner}/{repo}/actions/runs/{run_id}/cancel",
    "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
    "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun",
    "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs",
    "/repos/{owner}/{repo}/actions/jobs/{job_id}",
    "/repos/{owner}/{repo}/actions/jobs/{job_id}/rerun",
    "/app",
    "/app/installations",
    "/app/hook/config",
    "/app/hook/deliveries",
    "/app/hook/deliveries/{delivery_id}",
    "/app/hook/deliveries/{delivery_id}/attempts",
    *("/repos/{owner}/{repo}" + path for path in HOOKS),
    *("/orgs/{org}" + path for path in HOOKS),
)


def cut(edition: str) -> dict[str, Any]:
    """Return the description of `edition` (`ghec`, `ghes-3.19`), with PATHS and what they use."""
    full = json.loads((GENERATED / f"{edition}.json").read_text())
    kept = {name: full[name] for name in ("openapi", "info", "servers")}
    kept["paths"] = {path: full["paths"][path] for path in PATHS}
    _let_accounts_be_users(kept["paths"]["/app/installations"])
    kept["components"] = {}
    waiting = list(_references(kept["paths"]))
    while waiting:
        kind, name = waiting.pop().removeprefix("#/components/").split("/")
        if name not in kept["components"].setdefault(kind, {}):
            kept["components"][kind][name] = full["components"][kind][name]
            waiting += _references(full["components"][kind][name])
    return kept


def _let_accounts_be_users(path: dict[str, Any]) -> None:
    """Mend a mistake of the description: an installation's account is a user or an enterprise.

    In the list of an App's installations it says `allOf`, which GitHub's own example breaks; the
    schema `installation`, by which the same thing alone is judged, says `anyOf`.
    """
    answer = path["get"]["responses"]["200"]["content"]["application/json"]
    account = answer["schema"]["items"]["properties"]["account"]
    if "allOf" in account:  # as soon as the description is mended nothing is changed
        account["anyOf"] = account.pop("allOf")


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


if __name__ == "__main__":
    json.dump(cut(sys.argv[1]), sys.stdout)
