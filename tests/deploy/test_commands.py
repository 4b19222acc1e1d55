"""The commands of `python -m launcher.deploy`: what they check, write, and say when AWS refuses."""

import stat

import pytest

from launcher.deploy import cli, parameters, stack, starter
from launcher.deploy.parameters import APP_KEY, PAT, WEBHOOK_SECRETS, Secret
from launcher.errors import Exit, LaunchError, SettingsError
from launcher.pools.document import parse_pools
from launcher.pools.pool import Pools
from tests.deploy.accounts import NO_STACK, FakeAccount, refuse, state

OUTPUTS = {
    "ClusterArn": "arn:aws:ecs:eu-central-1:123456789012:cluster/runners",
    "Family": "runner-launcher-default",
    "SubnetIds": "subnet-0123abcd,subnet-4567abcd",
    "SecurityGroupId": "sg-0123abcd",
    "PublicIp": "true",
}


def deploy(account):
    """Deploy a stack; return its outputs and what was said."""
    said = []
    wanted = stack.Stack("x", "template", {"A": "1"}, {"tag": "t"})
    found = stack.deploy(account, wanted, said.append, sleep=lambda _: None)
    return found, said


# --- pools ---------------------------------------------------------------------------


@pytest.mark.parametrize("allow", ["", "octo,acme/hello"])
def test_the_first_document_of_pools_is_whole(allow):
    """It names the new cluster, network and family, and whom the webhook takes."""
    pools = parse_pools(starter.make_pools(OUTPUTS, "ARM64", allow))
    assert isinstance(pools, Pools)
    (pool,) = pools
    assert pool.cluster == OUTPUTS["ClusterArn"]
    assert pool.network.subnets == ("subnet-0123abcd", "subnet-4567abcd")
    assert pool.network.public_ip
    assert pool.offer.architecture == "arm64"
    assert pool.access.owners == (("octo",) if allow else ())
    assert pool.access.repositories == (("acme/hello",) if allow else ())
    assert not pool.access.forks


# --- stacks -------------------------------------------------------------------------------------


def test_a_stack_is_created_and_awaited():
    """Its outputs are given when it is complete."""
    done = state("CREATE_COMPLETE", Outputs=[{"OutputKey": "Url", "OutputValue": "u"}])
    account = FakeAccount(
        describe_stacks=[NO_STACK, state("CREATE_IN_PROGRESS"), done, done],
    )
    assert deploy(account) == ({"Url": "u"}, ["x: creating it", "x: done"])
    assert account.asked().count("create_stack") == 1


def test_an_update_of_nothing_is_no_error():
    """So the command can be run again at any time."""
    account = FakeAccount(
        describe_stacks=[state("CREATE_COMPLETE"), state("CREATE_COMPLETE")],
        update_stack=[refuse("ValidationError", "No updates are to be performed.")],
    )
    assert deploy(account) == ({}, ["x: updating it", "x: nothing has changed"])


def test_what_a_failed_creation_left_is_deleted_first():
    """CloudFormation updates no stack whose creation was rolled back."""
    done = state("CREATE_COMPLETE")
    account = FakeAccount(describe_stacks=[state("ROLLBACK_COMPLETE"), NO_STACK, done, done])
    deploy(account)
    assert [each for each in account.asked() if each != "describe_stacks"] == [
        "delete_stack",
        "create_stack",
    ]


def test_a_failure_says_which_resource_and_why():
    """The first cause comes first; what was only cancelled is left out."""
    events = [
        ("Queue", "CREATE_FAILED", "Resource creation cancelled"),
        ("Role", "CREATE_FAILED", "not authorized to perform: iam:CreateRole"),
        ("Table", "CREATE_COMPLETE", ""),
    ]
    listed = [
        {"LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason}
        for name, status, reason in events
    ]
    account = FakeAccount(
        describe_stacks=[NO_STACK, state("ROLLBACK_COMPLETE")],
        describe_stack_events=[{"StackEvents": listed}],
    )
    with pytest.raises(LaunchError) as failed:
        deploy(account)
    assert str(failed.value) == (
        "cannot deploy the stack x: ROLLBACK_COMPLETE: "
        "Role: not authorized to perform: iam:CreateRole"
    )


def test_a_deleted_stack_is_awaited():
    """All that the API had is gone when the command ends, and a second run finds nothing to do."""
    said, done = [], state("DELETE_COMPLETE")
    account = FakeAccount(
        describe_stacks=[state("CREATE_COMPLETE"), state("DELETE_IN_PROGRESS"), done, NO_STACK]
    )
    for _ in range(2):
        stack.delete(account, "x", said.append, sleep=lambda _: None)
    assert said == ["x: deleting it", "x: deleted"]
    assert account.asked().count("delete_stack") == 1


def test_a_stack_that_cannot_be_deleted_says_why():
    """The error names the resource that holds it."""
    events = [
        {
            "LogicalResourceId": "ApiRole",
            "ResourceStatus": "DELETE_FAILED",
            "ResourceStatusReason": "must detach all policies first",
        }
    ]
    account = FakeAccount(
        describe_stacks=[state("CREATE_COMPLETE"), state("DELETE_FAILED")],
        describe_stack_events=[{"StackEvents": events}],
    )
    with pytest.raises(LaunchError, match="DELETE_FAILED: ApiRole: must detach"):
        stack.delete(account, "x", lambda _: None, sleep=lambda _: None)


# --- secrets ------------------------------------------------------------------------------------


def test_all_mistakes_in_secrets_are_told_at_once_without_the_secrets():
    """One line for each, and none shows what was given."""
    given = [
        Secret(APP_KEY, "not-a-key-canary"),
        Secret(PAT, "canary-pat"),
        Secret(WEBHOOK_SECRETS, "long enough\ncanary"),
    ]
    with pytest.raises(SettingsError) as refused:
        parameters.check(given)
    assert len(refused.value.problems) == 3
    assert "canary" not in str(refused.value)


def test_secrets_are_encrypted_parameters():
    """With the key of one's own where there is one; a second run replaces them."""
    account = FakeAccount()
    given = [Secret(PAT, " ghp_1 \n"), Secret(WEBHOOK_SECRETS, "old-secret\nnew-secret")]
    names = parameters.put_secrets(account, "team-a", given, "arn:key")
    assert names == [
        "/runner-launcher/team-a/github-pat",
        "/runner-launcher/team-a/webhook-secrets",
    ]
    wanted = {"Type": "SecureString", "Overwrite": True, "KeyId": "arn:key"}
    assert [arguments for _, arguments in account.calls] == [
        {"Name": names[0], "Value": "ghp_1", **wanted},
        {"Name": names[1], "Value": "old-secret\nnew-secret", **wanted},
    ]


def test_a_refusal_does_not_quote_a_secret():
    """AWS's text may hold the value that it refuses."""
    account = FakeAccount(put_parameter=[refuse("ValidationException", "Value 'ghp_canary' at")])
    with pytest.raises(LaunchError) as refused:
        parameters.put_secrets(account, "a", [Secret(PAT, "ghp_canary")])
    assert "ValidationException" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_generated_secret_is_in_a_file_of_its_owner_alone(tmp_path, monkeypatch, capsys):
    """It is printed nowhere, and a file that is there already is never overwritten."""
    account = FakeAccount(
        describe_stacks=[
            state(
                "CREATE_COMPLETE", Outputs=[{"OutputKey": "WebhookUrl", "OutputValue": "https://u"}]
            )
        ]
    )
    monkeypatch.setattr(cli, "Account", lambda _region: account)
    path = tmp_path / "secret"
    arguments = ["secrets", "--generate", "--webhook-secret", str(path)]
    assert cli.main(arguments) == Exit.DONE
    secret = path.read_text()
    assert len(secret) > 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = capsys.readouterr()
    assert secret not in shown.out + shown.err
    assert "payload URL at GitHub: https://u" in shown.out
    assert cli.main(arguments) == Exit.SETTINGS
    assert path.read_text() == secret


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stack", "--deployment", "a b"], "--deployment must be"),
        (["stack", "--pools", "/nowhere.toml"], "there is no /nowhere.toml"),
        (["stack", "--worker-subnets", "subnet-1"], "belong together"),
        (["account", "--caller", "a", "--api-role", "b", "--pools", "/nowhere"], "cannot read"),
        (["secrets"], "no secret is given"),
        (["secrets", "--generate"], "--generate needs one --webhook-secret"),
        (["secrets", "--pat", "/nowhere"], "cannot read /nowhere: No such file"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_asked(arguments, words, capsys):
    """One clear line, exit code 11."""
    assert cli.main(arguments) == Exit.SETTINGS
    assert words in capsys.readouterr().err


def test_a_missing_region_is_named(monkeypatch, tmp_path, capsys):
    """The variable that sets it is named."""
    (tmp_path / "pat").write_text("ghp_1")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert cli.main(["secrets", "--pat", str(tmp_path / "pat")]) == Exit.SETTINGS
    assert "AWS_REGION" in capsys.readouterr().err
