"""Make the reference page of the rules for roles, for `make docs`. A test compares it with code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.roles.rules import USUAL_EVENTS
from sidecar.roles.tag_text import OWN_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent / "roles-reference.md"
HEAD = """# Reference of the rules for roles

Written by `make docs` from the code; change it there.
How to use them: [job-roles.md](job-roles.md).

`SIDECAR_ROLES` is a TOML document: the text itself, `file:` and a path, or `ssm:` and the names of
parameters, with `+` between them, whose texts are put one after the other. It is read whole. Every
mistake is a line that names the table and the key, with exit code 11. Beside `SIDECAR_JOB_ROLE_ARN`
or `SIDECAR_JOB_POLICY` it is a mistake.

A key may be one text or a list; one item must match. `*` stands for characters other than `/`, `**`
for all; a pattern has two of them at most. All keys of a rule must match. What is not known of a
job matches nothing.
"""
TERMS = {
    "role": "the role's ARN, or `none`",
    "policy": "session policy: JSON as text or a table, 2,048 characters at most",
    "duration": "of each session: `900` or `15m` to `1h`; with `oidc` to the role's maximum, "
    "`12h`; default: 1 h",
    "tags": "a table of session tags beside the agent's own: " + ", ".join(OWN_TAGS),
    "proof": "`runner` (default): the task role assumes the role; `oidc`: GitHub's token does",
    "source_identity": "`off` (default), `actor`, `run_id` or `repository_id`; needs "
    "`sts:SetSourceIdentity` in both policies",
}
TABLES: dict[str, dict[str, str]] = {
    "[[job]]": {
        "name": "of the rule, in logs and metrics; default: `job-1` and so on",
        "repository": "`owner/name` or `owner/*`, in any case",
        "repository_id": "the number, which a renamed repository keeps",
        "ref": "a whole ref: `refs/heads/main`, `refs/tags/v*`; in this case exactly",
        "ref_protected": "whether a rule of GitHub's protects the ref",
        "workflow": "the workflow's file, `.github/workflows/ci.yml`, in any case; of another "
        "repository with `owner/name/` before it",
        "event": "default: "
        + ", ".join(f"`{event}`" for event in USUAL_EVENTS)
        + "; every other event must be named, without stars",
        "environment": 'the deployment environment; needs `proof = "oidc"`',
        "actor": "who caused the run, in any case",
        "fork": "`true`: for commits of forks, and for nothing else; default: `false`",
        **TERMS,
        "container_roles": "roles that a `[[container]]` may give to containers of such a job",
        "required": "`true`: the job fails if the role cannot be had, or nobody answers",
    },
    "[default]": {
        **TERMS,
        "role": "for jobs that no rule is for, of the usual events and not of forks: an ARN, "
        "`task` (the task's own role) or `none` (default)",
    },
    "[[container]]": {
        "name": "of the rule; default: `container-1` and so on",
        "image": "the image as the create request names it",
        "label": "`key`, or `key=value` where the value may hold stars",
        "service": "compose's service (`com.docker.compose.service`)",
        "role": "`none`, `job`, or an ARN in `container_roles` of the job's rule",
        "policy": "with `job`: a session policy that limits the job's role; no `[[job]]` and no "
        "`[default]` may have one then",
    },
}


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for name, keys in TABLES.items():
        yield f"## `{name}`"
        yield "| key | meaning |"
        yield "|---|---|"
        yield from (f"| `{key}` | {meaning} |" for key, meaning in keys.items())
        yield ""
