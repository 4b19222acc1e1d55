"""The commands of `python -m launcher.deploy`: what they check, write, and say when AWS refuses."""

import stat

import pytest
from botocore.exceptions import ClientError

from launcher.deploy import cli, parameters, rights, stack, starter
from launcher.deploy.aws import translated
from launcher.deploy.parameters import APP_KEY, PAT, WEBHOOK_SECRETS, Secret
from launcher.errors import Exit, LaunchError, SettingsError
from launcher.pools.document import parse_pools
from launcher.pools.pool import Pools

OUTPUTS = {
    "ClusterArn": "arn:aws:ecs:eu-central-1:123456789012:cluster/runners",
    "Family": "runner-launcher-default",
    "SubnetIds": "subnet-0123abcd,subnet-4567abcd",
    "SecurityGroupId": "sg-0123abcd",
    "PublicIp": "true",
}
ROLES = {
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
}
POOLS = """
[[pool]]
name = "a"
labels = ["a"]
cluster = "runners"
task_definition = "linux"

[[pool]]
name = "b"
labels = ["b"]
cluster = "runners"
task_definition = "windows:7"
"""


class FakeAccount:
    """An account whose answers are listed by operation, each given once; an error is raised."""

    region, id, partition = "eu-central-1", "123456789012", "aws"

    def __init__(self, **answers):
        self.answers = {name: list(given) for name, given in answers.items()}
        self.calls = []

    def arn(self, service, resource):
        """Return an ARN, as the real one does."""
        return f"arn:aws:{service}:{self.region}:{self.id}:{resource}"

    def call(self, _service, operation, action, *, quotes_aws=True, **arguments):
        """Give the next answer."""
        self.calls.append((operation, arguments))
        answer = self.answers[operation].pop(0) if self.answers.get(operation) else {}
        with translated(action, quotes_aws=quotes_aws):
            if isinstance(answer, Exception):
                raise answer
            return answer

    def asked(self):
        """List the operations that were called."""
        return [operation for operation, _ in self.calls]


def refuse(code, message):
    """Make an error that AWS answers."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "any")


def state(status, **more):
    """Make an answer of DescribeStacks."""
    return {"Stacks": [{"StackStatus": status, **more}]}


NO_STACK = refuse("ValidationError", "Stack with id x does not exist")


def deploy(account):
    """Deploy a stack; return its outputs and what was said."""
    said = []
    wanted = stack.Stack("x", "template", {"A": "1"}, {"tag": "t"})
    found = stack.deploy(account, wanted, said.append, sleep=lambda _: None)
    return found, said


# --- pools and rights ---------------------------------------------------------------------------


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


def test_the_worker_may_use_what_the_pools_name():
    """Clusters, every revision of a family or the one that is named, and the roles of both."""
    account = FakeAccount(describe_task_definition=[{"taskDefinition": ROLES}] * 2)
    found = rights.find_rights(account, parse_pools(POOLS))
    assert found.parameters() == {
        "ClusterArns": account.arn("ecs", "cluster/runners"),
        "TaskDefinitionArns": ",".join(
            account.arn("ecs", f"task-definition/{name}") for name in ("linux:*", "windows:7")
        ),
        "RoleArns": ",".join(sorted(ROLES.values())),
    }


def test_a_task_definition_without_a_role_is_refused():
    """Its agent could not read its token."""
    account = FakeAccount(describe_task_definition=[{"taskDefinition": {}}] * 2)
    with pytest.raises(LaunchError, match="has a taskRoleArn"):
        rights.find_rights(account, parse_pools(POOLS))


def test_pools_that_need_other_rights_are_not_put(tmp_path, monkeypatch, capsys):
    """The worker would be refused later; the command names what to run instead."""
    account = FakeAccount(
        describe_task_definition=[{"taskDefinition": ROLES}] * 2,
        describe_stacks=[state("CREATE_COMPLETE", Parameters=[])],
    )
    account.close = lambda: None
    monkeypatch.setattr(cli, "Account", lambda _region: account)
    (tmp_path / "pools.toml").write_text(POOLS)
    assert cli.main(["pools", "--pools", str(tmp_path / "pools.toml")]) == Exit.SETTINGS
    assert "run launcher.deploy stack" in capsys.readouterr().err
    assert "put_parameter" not in account.asked()


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
    account.close = lambda: None
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
