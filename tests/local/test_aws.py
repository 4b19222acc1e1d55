"""SSM and STS by moto's server, as the demo and the tests use them."""

import signal
import subprocess
import sys

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

from local import aws as stand_in


def ssm(endpoint):
    """Build a client that knows nothing of the helpers under test."""
    return boto3.client(
        "ssm", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x"
    )


def test_a_parameter_put_is_one_that_a_real_client_reads(aws):
    """What `put` writes, boto3 decrypts; a second `put` replaces it under a new version."""
    assert stand_in.put(aws, "/runner/token/1", "FIRST") == 1
    assert stand_in.put(aws, "/runner/token/1", "SECOND") == 2
    client = ssm(aws)
    found = client.get_parameter(Name="/runner/token/1", WithDecryption=True)["Parameter"]
    hidden = client.get_parameter(Name="/runner/token/1")["Parameter"]
    client.close()
    assert (found["Value"], found["Type"], found["Version"]) == ("SECOND", "SecureString", 2)
    assert hidden["Value"] != "SECOND"


def test_names_lists_only_what_stands_under_the_prefix(aws):
    """More names than one page holds are all listed, and a neighbour's are not."""
    for number in range(12):
        stand_in.put(aws, f"/runner/token/{number:02}", "T", kind="String")
    stand_in.put(aws, "/other/token", "T")
    assert stand_in.names(aws, "/runner/") == [f"/runner/token/{n:02}" for n in range(12)]
    assert len(stand_in.names(aws)) == 13


def test_each_test_starts_from_an_empty_store(aws):
    """Nothing that another test wrote is there."""
    assert stand_in.names(aws) == []


def test_assumed_credentials_are_known_to_sts(aws):
    """GetCallerIdentity answers with the assumed role, not with moto's default user."""
    held = stand_in.assume_role(aws, "arn:aws:iam::123456789012:role/job", session="run-7")
    assert stand_in.whoami(aws, held) == "arn:aws:sts::123456789012:assumed-role/job/run-7"
    assert held.expiration.tzinfo is not None


def test_it_runs_on_its_own(started):
    """`python -m local.aws` prints its address and serves there."""
    url = started("-m", "local.aws", "--address", "127.0.0.1:0")
    assert url.startswith("http://127.0.0.1:")
    stand_in.put(url, "/runner/token/1", "T")
    assert stand_in.names(url) == ["/runner/token/1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told(number):
    """A signal ends it in good order: nothing on standard error, exit code 0."""
    argv = [sys.executable, "-m", "local.aws"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout.readline().startswith(b"ready http://127.0.0.1:")
        child.send_signal(number)
        assert child.communicate(timeout=60) == (b"", b"")
    assert child.returncode == 0


def test_a_client_without_an_endpoint_reaches_nobody():
    """A test that forgot its endpoint is refused on loopback instead of reaching an account."""
    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client("sts", aws_access_key_id="x", aws_secret_access_key="x", config=once)
    with pytest.raises(botocore.exceptions.EndpointConnectionError, match=r"127\.0\.0\.1:9"):
        client.get_caller_identity()
    client.close()


def test_the_machine_s_own_credentials_are_out_of_reach():
    """Neither the environment, nor files, nor instance metadata give a test credentials."""
    assert boto3.Session().get_credentials() is None
