"""The stand-in for the instance metadata service, judged by botocore's own clients of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from local import aws, imds

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


def play(instance, look, fault=""):
    """Serve the metadata of `instance`; return what `look`, which blocks, finds at the URL."""

    async def run():
        async with imds.serving(instance=instance) as served:
            served.fault = fault
            return await asyncio.to_thread(look, served.url)

    return asyncio.run(run())


def fetch_credentials(url):
    """Return what botocore takes for the instance role's credentials."""
    fetcher = InstanceMetadataFetcher(timeout=60, base_url=url, env={}, user_agent="judge")
    return fetcher.retrieve_iam_role_credentials()


@pytest.mark.parametrize("token_required", [False, True])
def test_botocore_gets_the_role(token_required):
    """The role's name, then credentials with all that botocore demands, whose end is to come."""
    found = play(imds.Instance(token_required=token_required), fetch_credentials)
    assert found["role_name"] == imds.INSTANCE_ROLE.rpartition("/")[2]
    assert {"access_key", "secret_key", "token", "expiry_time"} <= found.keys()
    assert datetime.fromisoformat(found["expiry_time"]) > datetime.now(UTC)


def test_botocore_gets_the_region():
    """By the availability zone, whose letter it cuts off."""
    found = play(
        imds.Instance(token_required=True),
        lambda url: InstanceMetadataRegionFetcher(
            timeout=60, base_url=url, env={}, user_agent="judge"
        ).retrieve_region(),
    )
    assert found == aws.REGION


@pytest.mark.parametrize(
    ("instance", "fault"),
    [(imds.Instance(has_role=False), ""), (imds.Instance(), "disabled")],
)
def test_botocore_gets_no_role(instance, fault):
    """Without an instance profile, or where the service is switched off."""
    assert play(instance, fetch_credentials, fault) == {}


def test_botocore_falls_back_to_imds_v1_only():
    """A service that knows no tokens answers without one."""
    assert play(imds.Instance(), fetch_credentials, "v1")["role_name"] == "instance"


def ask(*requests, instance=None):
    """Send requests (method, path, headers) after a token's; return each status and text."""

    async def run():
        async with (
            imds.serving(instance=instance or imds.Instance(token_required=True)) as served,
            aiohttp.ClientSession(served.url) as session,
        ):
            async with session.put("/latest/api/token", headers={TTL: "60"}) as answer:
                assert (answer.status, answer.headers[TTL]) == (200, "60")
                token = {TOKEN: await answer.text()}
            found = []
            for method, path, headers in requests:
                given = token if headers is None else headers
                async with session.request(method, path, headers=given) as answer:
                    found.append((answer.status, await answer.text()))
            return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/latest/meta-data/instance-id", {}, 401),
        ("GET", "/latest/meta-data/instance-id", {TOKEN: "another's"}, 401),
        ("PUT", "/latest/api/token", {TTL: "0"}, 400),
        ("PUT", "/latest/api/token", {TTL: "21601"}, 400),
        ("PUT", "/latest/api/token", {}, 400),
        ("PUT", "/latest/api/token", {TTL: "60", "X-Forwarded-For": "10.0.0.1"}, 403),
        ("GET", "/latest/meta-data/spot/instance-action", None, 404),
        ("GET", "/latest/meta-data/events/recommendations/rebalance", None, 404),
        ("GET", "/latest/meta-data/tags/instance/Name", None, 404),
        ("GET", "/latest/user-data", None, 404),
    ],
)
def test_what_is_refused(method, path, headers, status):
    """The statuses of Amazon's guide: no token, a bad lifetime, a proxy between, nothing there."""
    assert ask((method, path, headers))[0][0] == status


def test_tags_and_folders():
    """A folder lists its names, deeper folders with a slash; tags are there where enabled."""
    instance = imds.Instance(token_required=True, tags={"Name": "a b", "ghr:x": "y"})
    found = ask(
        ("GET", "/latest/meta-data/", None),
        ("GET", "/latest/meta-data/tags/instance", None),
        ("GET", "/latest/meta-data/tags/instance/Name", None),
        instance=instance,
    )
    assert [status for status, _ in found] == [200, 200, 200]
    assert {"ami-id", "instance-id", "placement/", "tags/"} <= set(found[0][1].split("\n"))
    assert found[1][1].split("\n") == ["Name", "ghr:x"]
    assert found[2][1] == "a b"


def test_the_two_notices_of_a_spot_instance():
    """As AWS documents them: the action with its time, and the time of the recommendation."""
    instance = imds.Instance(token_required=True, life_cycle="spot")
    instance.interrupt()
    instance.recommend_rebalance()
    (_, action), (_, rebalance) = ask(
        ("GET", "/latest/meta-data/spot/instance-action", None),
        ("GET", "/latest/meta-data/events/recommendations/rebalance", None),
        instance=instance,
    )
    assert json.loads(action).keys() == {"action", "time"}
    assert json.loads(action)["action"] == "terminate"
    assert json.loads(rebalance).keys() == {"noticeTime"}
    assert datetime.fromisoformat(json.loads(action)["time"]) > datetime.now(UTC)
