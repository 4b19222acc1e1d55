"""The commands find out what each function, and a caller's role, must be allowed."""

import pytest

from launcher.deploy import api_stack, cli
from launcher.deploy.caller_rights import find_account_rights, find_api_rights, find_worker_rights
from launcher.deploy.rights import find_rights
from launcher.deploy.stack import Stack
from launcher.errors import Exit, LaunchError, SettingsError
from launcher.pools.document import parse_pools
from tests.deploy.accounts import NO_STACK, ROLES, FakeAccount, refuse, state

GUEST = "210987654321"
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
MACHINES = """
[[pool]]
name = "m"
place = "ec2"
labels = ["m"]
launch_template = "runner"

[[pool]]
name = "n"
place = "ec2"
labels = ["n"]
launch_template = "lt-0123456789abcdef0"
instance_profile = "own"
"""
OWN_CALLER = """
[[caller]]
name = "octo"
repositories = [7]
pools = ["a", "m"]
roles = ["listed"]
"""
GUESTS = f"""
[[caller]]
name = "guest"
repositories = [8]
pools = ["b", "n"]
account = "{GUEST}"
role = "arn:aws:iam::{GUEST}:role/runners/guest"
external_id = "an-external-id"

[[garo]]
name = "gov"
repositories = ["octo/app"]
account = "{GUEST}"
role = "arn:aws:iam::{GUEST}:role/GitHubRunnerAssumeRole"
external_id = "another-external-id"
types = {{ spot = "b" }}
"""
NO_DEFINITION = refuse("ClientException", "Unable to describe task definition.")
NO_TEMPLATE = refuse("InvalidLaunchTemplateId.NotFound", "The specified launch template")
DEFINITIONS = [{"taskDefinition": ROLES}] * 2


def machine_arn(name):
    """Return the ARN of a role of machines."""
    return f"arn:aws:iam::123456789012:role/{name}"


def template(number, **data):
    """Make an answer of DescribeLaunchTemplateVersions."""
    return {"LaunchTemplateVersions": [{"LaunchTemplateId": number, "LaunchTemplateData": data}]}


def profile(*roles):
    """Make an answer of GetInstanceProfile."""
    return {"InstanceProfile": {"Roles": [{"Arn": machine_arn(role)} for role in roles]}}


TEMPLATES = [
    template("lt-1", IamInstanceProfile={"Arn": "arn:aws:iam::123456789012:instance-profile/p"}),
    template("lt-0123456789abcdef0"),
]


# --- the worker ---------------------------------------------------------------------------------


def test_the_worker_may_use_what_the_pools_name():
    """Clusters, every revision of a family or the one that is named, and the roles of both."""
    account = FakeAccount(describe_task_definition=DEFINITIONS)
    assert find_worker_rights(account, parse_pools(POOLS)).parameters() == {
        "Tasks": "yes",
        "ClusterArns": account.arn("ecs", "cluster/runners"),
        "TaskDefinitionArns": ",".join(
            account.arn("ecs", f"task-definition/{name}") for name in ("linux:*", "windows:7")
        ),
        "RoleArns": ",".join(sorted(ROLES.values())),
        "Machines": "no",
        "LaunchTemplateArns": "",
        "MachineRoleArns": "",
    }


def test_the_worker_may_start_machines_from_the_pools_templates_alone():
    """Templates by id, whatever the pools call them; roles of the pool's or template's profile."""
    account = FakeAccount(
        describe_launch_template_versions=TEMPLATES,
        get_instance_profile=[profile("one"), profile("two")],
    )
    found = find_worker_rights(account, parse_pools(MACHINES)).parameters()
    assert (found["Tasks"], found["Machines"]) == ("no", "yes")
    assert found["ClusterArns"] == found["TaskDefinitionArns"] == found["RoleArns"] == ""
    assert found["LaunchTemplateArns"].split(",") == [
        account.arn("ec2", f"launch-template/{number}")
        for number in ("lt-0123456789abcdef0", "lt-1")
    ]
    assert found["MachineRoleArns"].split(",") == [machine_arn("one"), machine_arn("two")]
    asked = [arguments for _, arguments in account.calls]
    assert asked == [
        {"LaunchTemplateName": "runner", "Versions": ["$Default"]},
        {"InstanceProfileName": "p"},
        {"LaunchTemplateId": "lt-0123456789abcdef0", "Versions": ["$Default"]},
        {"InstanceProfileName": "own"},
    ]


def test_a_task_definition_without_a_role_is_refused():
    """Its agent could not read its token."""
    account = FakeAccount(describe_task_definition=[{"taskDefinition": {}}] * 2)
    with pytest.raises(LaunchError, match="has a taskRoleArn"):
        find_worker_rights(account, parse_pools(POOLS))


@pytest.mark.parametrize(
    ("versions", "profiles", "words"),
    [
        ([template("lt-1")], [], "pool m has no instance profile, nor has its launch template"),
        ([{"LaunchTemplateVersions": []}], [], "of the pool m has no version"),
        (TEMPLATES, [profile()], "the instance profile p of the pool m has no role"),
        ([NO_TEMPLATE], [], "cannot look at the launch template runner of the pool m"),
    ],
)
def test_machines_that_could_not_read_their_token_are_refused(versions, profiles, words):
    """The error names the pool, and what is missing."""
    account = FakeAccount(describe_launch_template_versions=versions, get_instance_profile=profiles)
    with pytest.raises(LaunchError, match=words):
        find_worker_rights(account, parse_pools(MACHINES))


def test_a_pool_of_another_account_may_be_missing_here():
    """Its definition and template are in its caller's account; what is here of it may be used."""
    pools = parse_pools(POOLS + MACHINES + GUESTS)
    account = FakeAccount(
        describe_task_definition=[DEFINITIONS[0], NO_DEFINITION],
        describe_launch_template_versions=[TEMPLATES[0], NO_TEMPLATE],
        get_instance_profile=[profile("one")],
    )
    found = find_worker_rights(account, pools)
    assert found.tasks.task_definitions == (account.arn("ecs", "task-definition/linux:*"),)
    assert found.machines.launch_templates == (account.arn("ec2", "launch-template/lt-1"),)


def test_what_is_missing_of_any_other_pool_is_an_error():
    """A name that is written wrong is not taken for another account's."""
    account = FakeAccount(describe_task_definition=[NO_DEFINITION])
    with pytest.raises(LaunchError, match="task definition linux of the pool a"):
        find_worker_rights(account, parse_pools(POOLS + MACHINES + GUESTS))
    with pytest.raises(LaunchError, match="of the pool a"):
        find_rights(FakeAccount(describe_task_definition=[NO_DEFINITION]), parse_pools(POOLS))


# --- the API ------------------------------------------------------------------------------------


def own_account():
    """Make the launcher's account, which has what the own caller's pools name."""
    return FakeAccount(
        describe_task_definition=DEFINITIONS,
        describe_launch_template_versions=TEMPLATES,
        get_instance_profile=[profile("one"), profile("chosen")],
    )


def test_the_api_may_start_what_is_listed_for_its_callers_alone():
    """Only their pools, and the roles that a start may name; other accounts' pools are not its."""
    account = own_account()
    found = find_api_rights(account, parse_pools(POOLS + MACHINES + OWN_CALLER)).parameters()
    assert found["TaskDefinitionArns"] == account.arn("ecs", "task-definition/linux:*")
    assert found["LaunchTemplateArns"] == account.arn("ec2", "launch-template/lt-1")
    assert found["RoleArns"].split(",") == sorted([*ROLES.values(), machine_arn("listed")])
    assert found["MachineRoleArns"].split(",") == [machine_arn("chosen"), machine_arn("one")]
    assert (found["Accounts"], found["AccountRoleArns"]) == ("no", "")
    assert (found["TagsSessions"], found["TaggedRoleArns"]) == ("no", "")


def test_the_api_assumes_the_callers_roles_and_nothing_here_for_them():
    """Sessions are tagged but by GARO's contract; the launcher's own account is not looked at."""
    account = FakeAccount()
    found = find_api_rights(account, parse_pools(POOLS + MACHINES + GUESTS)).parameters()
    guest, gov = (
        f"arn:aws:iam::{GUEST}:role/{name}" for name in ("runners/guest", "GitHubRunnerAssumeRole")
    )
    assert (found["Accounts"], found["AccountRoleArns"]) == ("yes", f"{gov},{guest}")
    assert (found["TagsSessions"], found["TaggedRoleArns"]) == ("yes", guest)
    assert (found["Tasks"], found["Machines"], account.calls) == ("no", "no", [])


def test_the_worker_gives_the_roles_that_a_caller_may_name():
    """It starts again what a caller has ordered and a fault has ended."""
    pools = parse_pools(POOLS + OWN_CALLER.replace(', "m"', ""))
    found = find_worker_rights(FakeAccount(describe_task_definition=DEFINITIONS), pools)
    assert machine_arn("listed") in found.tasks.roles


def test_a_callers_role_may_start_what_its_pools_name_there():
    """They are looked up in the caller's own account."""
    account = FakeAccount(
        GUEST,
        describe_task_definition=[DEFINITIONS[0]],
        describe_launch_template_versions=[template("lt-9")],
        get_instance_profile=[profile("theirs")],
    )
    pools = parse_pools(POOLS + MACHINES + GUESTS)
    found = find_account_rights(account, pools, pools.callers[0])
    assert found.tasks.clusters == (account.arn("ecs", "cluster/runners"),)
    assert GUEST in found.tasks.clusters[0]
    assert found.machines.roles == (machine_arn("theirs"),)


# --- stacks of the API --------------------------------------------------------------------------


def sent(account, operation="create_stack"):
    """Return the one call of an operation: its arguments, and its parameters by name."""
    (found,) = [arguments for name, arguments in account.calls if name == operation]
    return found, {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]}


def test_the_api_is_deployed_beside_its_launcher():
    """With its code, table, alarms and network, and what its callers need."""
    account = own_account()
    account.answers["describe_stacks"] = [NO_STACK, *[state("CREATE_COMPLETE")] * 2]
    shared = dict.fromkeys((*api_stack.SHARED, *api_stack.NETWORK.values()), "x")
    launcher = Stack("l", "t", {**shared, "Deployment": "team_a", "Allow": "octo"}, {"tag": "t"})
    outputs = {"TableName": "table", "AlarmTopicArn": "topic", "WebhookUrl": "https://u"}
    api_stack.deploy_api(
        account,
        parse_pools(POOLS + MACHINES + OWN_CALLER),
        launcher,
        outputs,
        {"ApiAudience": "ours"},
        lambda _: None,
    )
    wanted, given = sent(account)
    assert (wanted["StackName"], wanted["Capabilities"]) == (
        "runner-api-team-a",
        ["CAPABILITY_IAM"],
    )
    assert (given["TableName"], given["AlarmTopicArn"], given["ApiAudience"]) == (
        "table",
        "topic",
        "ours",
    )
    assert given.keys() >= {*api_stack.SHARED, *api_stack.NETWORK, "AccountRoleArns"}
    assert not given.keys() & {"Allow", "WebhookUrl", "WorkerSubnets"}


@pytest.mark.parametrize(
    ("name", "path", "role", "tags"),
    [("guest", "/runners/", "guest", "yes"), ("gov", "/", "GitHubRunnerAssumeRole", "no")],
)
def test_a_callers_role_is_made_as_the_document_says(name, path, role, tags):
    """Name, path, external id, and whether sessions are tagged; its name needs a capability."""
    account = FakeAccount(
        GUEST,
        describe_task_definition=DEFINITIONS,
        describe_launch_template_versions=[template("lt-9")],
        get_instance_profile=[profile("theirs")],
        describe_stacks=[NO_STACK, *[state("CREATE_COMPLETE")] * 2],
    )
    pools = parse_pools(POOLS + MACHINES + GUESTS)
    api_stack.deploy_account(account, pools, name, "arn:api", "default", lambda _: None)
    wanted, given = sent(account)
    assert wanted["StackName"] == f"runner-account-default-{name}"
    assert wanted["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    assert (given["RolePath"], given["RoleName"], given["TagsSessions"]) == (path, role, tags)
    assert (given["Caller"], given["ApiRoleArn"]) == (name, "arn:api")
    assert given["ExternalId"].endswith("external-id")


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("nobody", GUEST, "nobody is none of the callers"),
        ("octo", GUEST, "octo has no account of its own"),
        ("guest", "123456789012", f"the account of guest is {GUEST}, and you are signed in to"),
    ],
)
def test_a_role_is_made_in_the_callers_own_account_alone(name, number, words):
    """Whoever is signed in elsewhere is told, before anything is asked."""
    account = FakeAccount(number)
    pools = parse_pools(POOLS + MACHINES + OWN_CALLER + GUESTS)
    with pytest.raises(SettingsError, match=words):
        api_stack.deploy_account(account, pools, name, "arn:api", "default", lambda _: None)
    assert account.calls == []


# --- the command line ---------------------------------------------------------------------------


def run(monkeypatch, folder, account, pools, *arguments):
    """Run a command in an account, with a document of pools."""
    monkeypatch.setattr(cli, "Account", lambda _region: account)
    path = folder / "pools.toml"
    path.write_text(pools)
    return cli.main([*arguments, "--pools", str(path)])


def test_an_api_that_nobody_may_call_is_not_deployed(tmp_path, monkeypatch, capsys):
    """The command says what is missing, and has changed nothing."""
    account = FakeAccount()
    assert run(monkeypatch, tmp_path, account, POOLS, "stack", "--api", "yes") == Exit.SETTINGS
    assert "needs a [[caller]] or a [[garo]]" in capsys.readouterr().err
    assert account.calls == []


def as_deployed(rights):
    """Make an answer about a stack that was deployed with these rights."""
    given = rights.parameters().items()
    listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in given]
    return state("CREATE_COMPLETE", Parameters=listed)


@pytest.mark.parametrize("has_api", [False, True])
def test_pools_that_need_other_rights_are_not_put(tmp_path, monkeypatch, capsys, has_api):
    """The worker or the API would be refused later; the command names what to run instead."""
    pools = parse_pools(POOLS + OWN_CALLER.replace(', "m"', ""))
    worker = find_worker_rights(FakeAccount(describe_task_definition=DEFINITIONS), pools)
    stacks = [as_deployed(worker), as_deployed(worker), state("CREATE_COMPLETE", Parameters=[])]
    account = FakeAccount(
        describe_task_definition=DEFINITIONS * 2,
        describe_stacks=stacks if has_api else [NO_STACK, stacks[-1]],
    )
    text = POOLS + OWN_CALLER.replace(', "m"', "")
    assert run(monkeypatch, tmp_path, account, text, "pools") == Exit.SETTINGS
    assert "run launcher.deploy stack" in capsys.readouterr().err
    assert "put_parameter" not in account.asked()


def test_pools_that_need_the_same_rights_are_put(tmp_path, monkeypatch):
    """Without an API, nobody asks what it would need."""
    worker = find_worker_rights(
        FakeAccount(describe_task_definition=DEFINITIONS), parse_pools(POOLS)
    )
    account = FakeAccount(
        describe_task_definition=DEFINITIONS, describe_stacks=[NO_STACK, as_deployed(worker)]
    )
    assert run(monkeypatch, tmp_path, account, POOLS, "pools") == Exit.DONE
    assert account.asked().count("put_parameter") == 1
    assert account.asked().count("describe_task_definition") == 2
