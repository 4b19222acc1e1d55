"""GitHub's own examples of payloads go through the webhook (npm @octokit/webhooks-examples)."""

import asyncio
import json

import pytest

from launcher.demand.webhook import Webhook
from tests.conftest import JUDGES
from tests.unit.launcher.demand.deliveries import SECRET, deliver

pytestmark = pytest.mark.node


def examples():
    """Yield event and payload of every example of every GitHub."""
    for index in sorted((JUDGES / "@octokit/webhooks-examples").glob("*/index.json")):
        for event in json.loads(index.read_text()):
            for example in event["examples"]:
                yield event["name"], example


def test_every_official_example_is_answered_as_documented():
    """Each workflow_job becomes its demand; each other event is answered and starts nothing."""
    found = list(examples())

    async def life():
        sent = []

        async def keep(demand):
            sent.append(demand)

        webhook = Webhook([SECRET], keep)
        for event, example in found:
            sent.clear()
            answer = await webhook.take(*deliver(example, event))
            if event != "workflow_job":
                assert (answer.status, sent) == (200, []), event
                continue
            (demand,) = sent
            job = example["workflow_job"]
            assert answer.status == 202
            assert (demand.job_id, demand.run_id) == (job["id"], job["run_id"])
            assert demand.labels == tuple(job["labels"])
            assert demand.repository == example["repository"]["full_name"]
            waits = job["status"] == "waiting"
            assert demand.action == ("waiting" if waits else example["action"])

    asyncio.run(life())
    assert sum(event == "workflow_job" for event, _ in found) >= 8
    assert sum(event == "ping" for event, _ in found) >= 4
