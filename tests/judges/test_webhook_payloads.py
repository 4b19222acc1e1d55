"""The webhooks of the GitHub stand-in have the form of GitHub's own examples."""

import asyncio
import json
from collections import defaultdict

import pytest

from local.github.apps import Apps
from local.github.changes import Changes
from local.github.jobs import Jobs
from local.github.webhooks import Hooks
from tests.conftest import JUDGES

pytestmark = pytest.mark.node


def examples():
    """Return every `workflow_job` example of every GitHub."""
    found = []
    for index in sorted((JUDGES / "@octokit/webhooks-examples").glob("*/index.json")):
        for event in json.loads(index.read_text()):
            if event["name"] == "workflow_job":
                found += event["examples"]
    return found


def walk(path, value):
    """Yield the path and the type of each field of a payload, of lists their first item."""
    yield path, type(value).__name__
    children = value.items() if isinstance(value, dict) else ()
    for name, child in children:
        yield from walk(f"{path}.{name}", child)
    if isinstance(value, list) and value:
        yield from walk(f"{path}[]", value[0])


def read_forms(payloads):
    """Return for each path the types seen, and the paths that are in every payload."""
    types, shared = defaultdict(set), None
    for payload in payloads:
        own = list(walk("", payload))
        for path, kind in own:
            types[path].add(kind)
        paths = {path for path, _ in own}
        shared = paths if shared is None else shared & paths
    return types, shared


def payloads_of_a_life(installed):
    """Return what is sent for a job that waits, is approved, runs and ends; and for a cancelled."""

    async def life():
        apps, changes = Apps(), Changes()
        hooks = Hooks(lambda: 1_700_000_000.0, changes, apps)
        jobs = Jobs(changes.ring, hooks.announce)
        app = apps.add("launcher", 1) if installed else None
        if app:
            apps.install(app, "octo")
        hooks.add("http://127.0.0.1:9/", "It's a secret", app=app)
        job = jobs.add(
            {
                "labels": ["self-hosted", "k8s"],
                "repository": "octo/demo",
                "environment": "production",
                "steps": [{"run": "true"}],
            },
            1_700_000_000.0,
        )
        job.state = "queued"
        hooks.announce(job, "queued")
        job.state, job.runner_id, job.runner_name, job.group_id = "running", 21, "one", 1
        job.started_at = 1_700_000_001.0
        hooks.announce(job, "in_progress")
        job.state, job.result, job.completed_at = "completed", "succeeded", 1_700_000_002.0
        job.steps[0].state, job.steps[0].result = "completed", "succeeded"
        hooks.announce(job, "completed")
        await hooks.close()
        return [json.loads(each.body) for each in hooks.deliveries if each.action]

    return asyncio.run(life())


@pytest.mark.parametrize("installed", [False, True])
def test_each_field_that_the_examples_share_is_sent_with_its_type(installed):
    """In each action; and no field has a type that the examples never have."""
    types, shared = read_forms(examples())
    sent = payloads_of_a_life(installed)
    assert [each["action"] for each in sent] == [
        "queued",
        "waiting",
        "queued",
        "in_progress",
        "completed",
    ]
    for payload in sent:
        own = dict(walk("", payload))
        steps_wanted = payload["workflow_job"]["status"] not in ("queued", "waiting")
        wanted = {path for path in shared if steps_wanted or "steps[]" not in path}
        assert wanted <= set(own), wanted - set(own)
        wrong = {
            path: kind
            for path, kind in own.items()
            if path in types and kind not in types[path] and kind != "NoneType"
        }
        assert wrong == {}
        nulls = {path for path, kind in own.items() if kind == "NoneType"}
        assert not {path for path in nulls & shared if "NoneType" not in types[path]}


def test_newer_fields_are_sent_too():
    """What a policy and a launch need, though the oldest examples lack it."""
    for payload in payloads_of_a_life(installed=True):
        newer = {"run_attempt", "head_branch", "created_at", "workflow_name", "runner_group_name"}
        assert newer <= set(payload["workflow_job"])
        assert payload["installation"]["id"]
        assert ("deployment" in payload) == (payload["workflow_job"]["status"] == "waiting")
