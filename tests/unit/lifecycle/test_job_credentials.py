"""The credentials of jobs are decided by the settings; tests/lives runs whole lives with them."""

from __future__ import annotations

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import RelayError, SettingsError
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.settings.load import load
from sidecar.shutdown.cleanup import CleanupStack

ROLE = "arn:aws:iam::123456789012:role/job"
POLICY = '{"Version": "2012-10-17", "Statement": []}'


@pytest.fixture
def make_config(tmp_path, monkeypatch):
    """Return a function that makes a configuration of these variables."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    listener = tmp_path / "bin" / host.LISTENER.name
    listener.parent.mkdir()
    listener.touch()

    def make(**environ: str):
        common = {
            "SIDECAR_TOKEN_PARAMETER": "/actions/tokens/0f3a",
            "SIDECAR_RUNNER_DIR": str(tmp_path),
            "AWS_REGION": "eu-central-1",
        }
        return load([], common | environ)

    return make


def run_relay(config, facts=None):
    """Run the relay for a moment; return the credentials, a job's environment, and the log."""

    async def work():
        access = Access(config)
        with capture_logs() as logs:
            async with job_credentials(config, access, facts or TaskFacts(), CleanupStack()) as job:
                env = dict(job.remove_agent_variables(config.passed_on))
                if job.job_role is None:
                    env |= await job.wait_for_credentials(
                        "x", 0.1, config.passed_on, required=False
                    )
        return job, env, logs

    return asyncio.run(asyncio.wait_for(work(), 30))


def find_event(logs, name):
    """Return the one event of that name."""
    (event,) = [event for event in logs if event["event"] == name]
    return event


FULL = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/x"}


def test_without_the_setting_a_job_keeps_the_task_role(make_config):
    """Its environment is unchanged, and the log names the agent's secrets that it could read."""
    config = make_config(**FULL, SIDECAR_GITHUB_PAT="secretsmanager:runner-pat")
    job, env, logs = run_relay(config)
    assert not job.separate_job_role
    assert env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://127.0.0.1:9/x"
    lines = find_event(logs, "job.role_shared")["can_read"]
    assert any("/actions/tokens/*" in line for line in lines)
    assert "SIDECAR_GITHUB_PAT: secretsmanager:runner-pat" in lines


def test_a_launcher_s_tokens_for_other_machines_are_named(make_config):
    """Its policy may grant more than this machine's own: what it does not, nobody can read."""
    config = make_config(**FULL, SIDECAR_TOKEN_PARAMETER="", SIDECAR_LAUNCH_ID="i-1")
    (line,) = find_event(run_relay(config)[2], "job.role_shared")["can_read"]
    assert line.startswith("the launcher's tokens for all its machines")


def test_a_secret_itself_is_never_named(make_config):
    """The log may only name the place where it is kept."""
    _, _, logs = run_relay(make_config(**FULL, SIDECAR_GITHUB_PAT="ghp_SECRET"))
    assert "ghp_SECRET" not in str(logs)


def test_without_a_task_role_no_shared_role_is_logged(make_config):
    """Outside ECS the log says nothing of roles."""
    _, _, logs = run_relay(make_config())
    assert [event["event"] for event in logs] == ["relay.disabled"]


@pytest.mark.parametrize(
    "setting", [{"SIDECAR_JOB_ROLE_ARN": ROLE}, {"SIDECAR_JOB_POLICY": POLICY}]
)
def test_either_setting_gives_a_separate_job_role(make_config, setting):
    """The agent's own credentials are then fetched on SO_MARK sockets, and jobs do not get them."""
    config = make_config(**FULL, **setting)
    access = Access(config)
    assert access.separate_job_role
    assert access.endpoint.so_mark
    assert access.session() is access.session()
    assert not access.secret_reader("r").shared
    job, env, logs = run_relay(config)
    assert job.job_role is not None
    assert not [name for name in env if name.startswith("AWS_CONTAINER")]
    assert "RELATIVE_URI" in find_event(logs, "network.rules_skipped")["reason"]


def test_without_the_relay_a_job_has_no_credentials_at_all(make_config):
    """An address that cannot be used does not give the task role back to jobs."""
    config = make_config(**FULL, SIDECAR_JOB_ROLE_ARN=ROLE, SIDECAR_RELAY_ADDRESS="198.51.100.1:1")
    access = Access(config)

    async def work():
        with capture_logs() as logs:
            async with job_credentials(config, access, TaskFacts(), CleanupStack()) as job:
                env = dict(job.remove_agent_variables(config.passed_on))
                env |= await job.wait_for_credentials("x", 0.1, config.passed_on, required=False)
        return env, logs

    env, logs = asyncio.run(work())
    assert find_event(logs, "relay.failed")
    assert env["AWS_EC2_METADATA_DISABLED"] == "true"
    assert not [name for name in env if name.startswith("AWS_CONTAINER")]


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "not-a-path", "SIDECAR_JOB_ROLE_ARN": ROLE},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "not-a-path"},
        {},
    ],
)
def test_a_required_relay_that_is_impossible_is_an_error(make_config, environ):
    """The exit code is 14, whatever the cause."""
    with pytest.raises(RelayError):
        run_relay(make_config(**environ, SIDECAR_RELAY_REQUIRED="true"))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"SIDECAR_JOB_ROLE_ARN": "job"}, "must be the ARN of an IAM role, not 'job'"),
        ({"SIDECAR_JOB_ROLE_ARN": ROLE, "SIDECAR_RELAY": "off"}, "contradicts SIDECAR_RELAY=off"),
        ({"SIDECAR_JOB_POLICY": POLICY, "SIDECAR_RELAY": "off"}, "contradicts SIDECAR_RELAY=off"),
        (
            {"SIDECAR_JOB_ROLE_ARN": ROLE, "SIDECAR_RELAY": "pass-through"},
            "contradicts SIDECAR_RELAY=pass-through",
        ),
        ({"SIDECAR_JOB_POLICY": "{"}, "must be JSON"),
        ({"SIDECAR_JOB_POLICY": "[]"}, "must be an IAM policy"),
        ({"SIDECAR_JOB_POLICY": "file:/nowhere"}, "cannot be read from /nowhere"),
        (
            {"SIDECAR_JOB_POLICY": '{"Statement": "%s"}' % ("x" * 2048)},
            "must be 2048 characters at most, and is 2064",
        ),
    ],
)
def test_a_wrong_value_names_the_setting(make_config, given, what):
    """One line for each, before any request is sent."""
    with pytest.raises(SettingsError) as failed:
        make_config(**given)
    (line,) = failed.value.problems
    assert line.startswith(next(iter(given)))
    assert what in line


def test_a_policy_may_be_in_a_file(make_config, tmp_path):
    """Its white space does not count against the limit of STS."""
    file = tmp_path / "policy.json"
    file.write_text('{\n  "Statement": [],\n' + " " * 3000 + '"Version": "2012-10-17"}')
    policy = make_config(SIDECAR_JOB_POLICY=f"file:{file}").settings.job_policy
    assert policy == '{"Statement":[],"Version":"2012-10-17"}'


def test_roles_of_other_partitions_and_paths_are_accepted(make_config):
    """China, GovCloud, and a path between `role/` and the name."""
    arn = "arn:aws-us-gov:iam::123456789012:role/team/ci/job_1"
    assert make_config(SIDECAR_JOB_ROLE_ARN=arn).settings.job_role_arn == arn


def test_a_policy_file_that_is_no_text_is_an_error(make_config, tmp_path):
    """The error says that it is not text."""
    file = tmp_path / "policy.json"
    file.write_bytes(os.urandom(16) + b"\xff\xfe\xff")
    with pytest.raises(SettingsError, match=r"cannot be read from .* it is not text"):
        make_config(SIDECAR_JOB_POLICY=f"file:{file}")
