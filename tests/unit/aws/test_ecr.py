"""The registry of an account and a region, in each of AWS's partitions."""

from __future__ import annotations

import json
import re

import botocore.session
import pytest

from sidecar.aws import ecr
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.instance_metadata import DOCUMENT
from sidecar.aws.task_metadata import TaskFacts

ACCOUNT = "123456789012"
REGIONS = {
    "eu-central-1": "amazonaws.com",
    "us-gov-west-1": "amazonaws.com",
    "cn-north-1": "amazonaws.com.cn",
    "us-iso-east-1": "c2s.ic.gov",
    "us-isob-east-1": "sc2s.sgov.gov",
    "us-isof-south-1": "csp.hci.ic.gov",
    "eu-isoe-west-1": "cloud.adc-e.uk",
    "eusc-de-east-1": "amazonaws.eu",
}


@pytest.mark.parametrize(("region", "domain"), REGIONS.items())
def test_the_domain_is_that_of_the_region_s_partition(region, domain):
    """As botocore has it."""
    assert ecr.name_registry(ACCOUNT, region) == f"{ACCOUNT}.dkr.ecr.{region}.{domain}"
    partitions = botocore.session.Session().get_data("partitions")["partitions"]
    (partition,) = [each for each in partitions if re.match(each["regionRegex"], region)]
    assert partition["outputs"]["dnsSuffix"] == domain


def test_a_task_s_registry_comes_from_its_arn():
    """A task without metadata has none."""
    facts = TaskFacts(f"arn:aws-cn:ecs:cn-north-1:{ACCOUNT}:task/cluster/0f3a")
    assert facts.ecr_registry == f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn"
    assert TaskFacts().ecr_registry is None
    assert TaskFacts("arn:aws:ecs:eu-central-1").ecr_registry is None
    assert TaskFacts("arn:aws:ecs:*:x:task/y").ecr_registry is None


@pytest.mark.parametrize("document", [None, "", "<html>", "[]", '{"accountId": "1"}', "null"])
def test_a_machine_without_an_identity_document_has_no_registry(document):
    """Nothing else says which account it is."""
    machine = {"instance-id": "i-0123"}
    if document is not None:
        machine[DOCUMENT] = document
    assert InstanceFacts.from_metadata(machine).ecr_registry is None


def test_a_machine_s_registry_comes_from_its_identity_document():
    """Account and region, as EC2 says them."""
    document = json.dumps({"accountId": ACCOUNT, "region": "us-east-1"})
    facts = InstanceFacts.from_metadata({"instance-id": "i-0123", DOCUMENT: document})
    assert facts.ecr_registry == f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
