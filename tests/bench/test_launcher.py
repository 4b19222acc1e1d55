"""The launcher's parts of the bench, and the stand-ins that only the bench has."""

from __future__ import annotations

import asyncio
import json
import sys

import aiobotocore.session
import pytest
from botocore.exceptions import ClientError

if sys.platform == "win32":
    pytest.skip("the bench reads /proc and spawns by POSIX", allow_module_level=True)

from bench import api, deliveries, lambdas, queued, sqs, stage, webhooks
from launcher.demand.delivery import is_signed, translate
from local import aws as local_aws


@pytest.fixture(scope="module")
def opened():
    """Return the stage that all figures share."""
    with stage.open_stage() as built:
        yield built


def test_a_delivery_of_the_bench_is_signed_and_is_a_demand():
    """What is measured is not a refusal."""
    body = deliveries.make_payload(7, 8)
    headers = deliveries.make_headers(body, 7)
    assert is_signed([deliveries.SECRET.encode()], headers["x-hub-signature-256"], body)
    demand = translate(headers, body)
    assert (demand.job_id, demand.run_id, demand.labels) == (7, 8, deliveries.LABELS)


def test_a_cold_start_is_compared_with_the_standard_library(opened):
    """Handler and floor both answer 202, after their message was sent."""
    (found,) = lambdas.measure(opened, runs=1)
    assert found.key == "lambda_cold_vs_floor"
    assert found.value > 0


def test_a_floor_that_cannot_send_is_no_floor(opened):
    """It fails: it must not look fast."""
    path = opened.folder / "refused.json"
    path.write_text(json.dumps(lambdas.make_event(1)))
    env = lambdas.environment("http://127.0.0.1:9")
    with stage.life(env, (sys.executable, lambdas.FLOOR, str(path))) as floor:
        code, _, _ = floor.ended()
    assert code != 0


def test_the_webhook_is_compared_with_bare_aiohttp(opened, monkeypatch):
    """Both answer every delivery; with more at once a busy machine is right to say 503."""
    monkeypatch.setattr(webhooks, "CONNECTIONS", 4)
    found = {one.key: one for one in webhooks.measure(opened, turns=1)}
    assert found.keys() == (set() if webhooks.missing() else set(webhooks.KEYS))
    assert all(one.value > 0 for one in found.values())


def test_the_api_is_compared_with_bare_aiohttp(opened, monkeypatch):
    """Each start comes to one RunInstances, and both answer the start that is sent again."""
    monkeypatch.setattr(webhooks, "CONNECTIONS", 4)
    found = {one.key: one for one in api.measure(opened, starts=2, turns=1)}
    assert found.keys() == set(api.KEYS[:1] if webhooks.missing() else api.KEYS)
    assert all(one.value > 0 for one in found.values())


def test_the_way_from_a_delivery_to_its_task_is_measured(opened):
    """Each delivery comes to one RunTask."""
    (found,) = queued.measure(opened, jobs=2)
    assert found.key == "queued_to_runtask_ms"
    assert 0 < found.parts["queued_to_runtask_least_ms"] <= found.value


# --- the queue that answers fast, beside moto's ---------------------------------------------------


async def talk(client, url):
    """Say what every client says; return the answers, without what differs each time."""
    seen = []

    async def ask(name, **given):
        try:
            answer = await getattr(client, name)(QueueUrl=url, **given)
        except ClientError as error:
            seen.append((name, error.response["Error"]["Code"].rpartition(".")[2]))
            return {}
        answer.pop("ResponseMetadata")
        seen.append((name, strip(answer)))
        return answer

    number = {"DataType": "Number", "StringValue": "3"}
    await ask("send_message", MessageBody="one", MessageAttributes={"count": number})
    await ask("send_message", MessageBody="late", DelaySeconds=900)
    await ask("send_message", MessageBody="x", DelaySeconds=901)
    names = {"MessageAttributeNames": ["count"], "MessageSystemAttributeNames": ["All"]}
    first = await ask("receive_message", MaxNumberOfMessages=10, **names)
    await ask("receive_message")  # it is hidden, the other one delayed
    receipt = first["Messages"][0]["ReceiptHandle"]
    await ask("change_message_visibility", ReceiptHandle=receipt, VisibilityTimeout=0)
    again = await ask("receive_message", WaitTimeSeconds=1, **names)
    await ask("delete_message", ReceiptHandle=again["Messages"][0]["ReceiptHandle"])
    await ask("receive_message", MaxNumberOfMessages=11)
    return seen


def strip(answer):
    """Leave out ids, receipts and times."""
    if not isinstance(answer, dict):
        return answer
    own = {"MessageId", "ReceiptHandle", "SenderId", "MD5OfMessageAttributes"}
    return {
        key: [strip(each) for each in value] if isinstance(value, list) else strip(value)
        for key, value in answer.items()
        if key not in own and not key.endswith("Timestamp")
    }


def test_the_queue_answers_as_moto_s_does(aws, monkeypatch):
    """To botocore's client, in what the launcher uses."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    async def judge():
        session = aiobotocore.session.get_session()

        def connect(url):
            return session.create_client("sqs", region_name=local_aws.REGION, endpoint_url=url)

        async with connect(aws) as client:
            url = (await client.create_queue(QueueName="demand"))["QueueUrl"]
            theirs = await talk(client, url)
        async with sqs.serving() as queue, connect(queue.url.removesuffix(sqs.QUEUE)) as client:
            return await talk(client, queue.url), theirs

    ours, theirs = asyncio.run(asyncio.wait_for(judge(), 60))
    assert ours == theirs


def test_a_waiting_receiver_gets_a_message_at_once(monkeypatch):
    """It is woken by the message, not by a clock: twenty seconds would be too late."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    async def judge():
        async with sqs.serving() as queue:
            waiting = asyncio.create_task(queue.receive({"WaitTimeSeconds": 20}))
            await asyncio.sleep(0)
            queue.send({"MessageBody": "now"})
            return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(judge())["Messages"][0]["Body"] == "now"
