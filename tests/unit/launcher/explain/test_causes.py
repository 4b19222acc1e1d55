"""What the words of AWS and the agent mean is known by a table."""

import pytest

from launcher.explain import causes
from sidecar.errors import Exit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CannotPullContainerError: pull image manifest: not found", "its tag is not there"),
        (
            "CannotPullContainerError: dial tcp 1.2.3.4:443: i/o timeout",
            "no way out of the subnet or security group",
        ),
        ("CannotPullContainerError: 403 Forbidden", "may not read the image's repository"),
        ("ResourceInitializationError: unable to pull secrets: ssm", "must read the secrets"),
        ("ResourceInitializationError: failed to validate logger args", "log group must exist"),
        ("ResourceInitializationError: unable to pull registry auth: ecr", "no way to ECR"),
        ("SpotInterruption: Your Spot Task was interrupted.", "took the Spot capacity back"),
        ("Task failed container health checks", "health check killed it"),
        ("OutOfMemoryError: Container killed due to memory usage", "too little memory"),
        ("cannot start a task: access denied (needs iam:PassRole)", "pass the task role"),
        ("TaskDefinition is inactive", "register a new revision"),
        ("You've reached the limit on the number of vCPUs", "raise the account's quota"),
        ("Capacity is unavailable at this time", "AWS has no room now"),
        ("no runner is online after 600 s", "did not register in time"),
        ("cannot assume r for the rule 'x': access denied (needs sts:AssumeRole)", "role trust"),
        ("cannot assume r for the rule 'x': no answer from STS within 3 s", "endpoint for sts"),
        ("no rule of SIDECAR_ROLES gives a role to o/r, ref x, event push", "let a [[job]]"),
        ("the rule 'a' of SIDECAR_ROLES gives no role to o/r", "let a [[job]]"),
        ("the rule needs GitHub's token: the job lacks permissions: id-token: write", "id-token"),
        ("EssentialContainerExited: x; exit code 12 (token)", "could not read its token"),
        ("EssentialContainerExited: x; exit code 13", "GitHub refused the registration"),
    ],
)
def test_a_reason_has_its_advice(text, words):
    """The first row that fits, so the narrower ones stand first."""
    assert words in causes.explain(text)


def test_what_is_not_known_has_no_advice():
    """Better none than a wrong one."""
    assert causes.explain("the moon is full") == ""


@pytest.mark.parametrize("code", [each for each in Exit if each.failure])
def test_each_exit_code_that_is_a_failure_has_its_advice(code):
    """Except what only a cleanup left: the agent's log names that."""
    assert causes.is_failure(code)
    assert causes.explain_exit(code) or code is Exit.LEFT_BEHIND


def test_no_exit_code_is_a_failure():
    """The agent had no chance to say anything."""
    assert causes.is_failure(None)
    assert not causes.is_failure(0)
    assert causes.is_failure(137)
