"""The stacks of the launcher on ministack, deployed by its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from launcher.deploy.target import Target
from local import agent, aws
from local.stage import PAT
from tests.deploy import garo, guests, machines, ministack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-webhook-secret-7f3a"  # of this test alone
DEPLOYMENT = "end-to-end"
STACK, POOL_STACK = f"runner-launcher-{DEPLOYMENT}", f"runner-pool-{DEPLOYMENT}"
API_STACK, GUEST_STACK = f"runner-api-{DEPLOYMENT}", f"runner-account-{DEPLOYMENT}-{guests.CALLER}"
GARO_STACK = f"runner-account-{DEPLOYMENT}-{garo.CALLER}"
OWNERS = dict.fromkeys((GUEST_STACK, GARO_STACK), guests.ACCOUNT)
"""The account of a stack that is not in the launcher's own."""


@dataclass
class Deployed:
    """The stacks that the commands have deployed."""

    url: str
    folder: Path
    printed: str
    """The lines that the commands printed."""
    outputs: dict[str, str] = field(default_factory=dict)
    pool_outputs: dict[str, str] = field(default_factory=dict)
    api_outputs: dict[str, str] = field(default_factory=dict)
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    machines: machines.Machines = field(default_factory=machines.Machines)
    guest: guests.Guest = field(default_factory=guests.Guest)

    def client(self, service: str, account: str = aws.ACCOUNT) -> Any:
        """Return a client of this AWS, whose accounts are told apart by the access key."""
        if (service, account) not in self.clients:
            self.clients[service, account] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name=aws.REGION,
                aws_access_key_id=account,
                aws_secret_access_key="test",
            )
        return self.clients[service, account]

    def close(self) -> None:
        """Close all clients."""
        for client in self.clients.values():
            client.close()

    def resource(self, name: str, stack: str = STACK) -> str:
        """Return the physical id of a resource of the stack."""
        client = self.client("cloudformation", OWNERS.get(stack, aws.ACCOUNT))
        found = client.describe_stack_resources(StackName=stack)
        return next(
            str(each["PhysicalResourceId"])
            for each in found["StackResources"]
            if each["LogicalResourceId"] == name
        )

    @property
    def webhook_url(self) -> str:
        """The webhook's function URL."""
        return self._find_url(self.outputs["WebhookUrl"])

    @property
    def api_url(self) -> str:
        """The API's function URL."""
        return self._find_url(self.api_outputs["ApiUrl"])

    def _find_url(self, url: str) -> str:
        """Return a function URL as ministack serves it without a name of its own."""
        number = url.removeprefix("https://").partition(".")[0]
        return f"{self.url}/_aws/lambda-url/{number}/"

    def read_outputs(self) -> None:
        """Read the outputs of the launcher's own stacks."""
        for stack, outputs in (
            (STACK, self.outputs),
            (POOL_STACK, self.pool_outputs),
            (API_STACK, self.api_outputs),
        ):
            found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
            outputs.update({each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]})

    def set_environment(self, function: str, stack: str = STACK, **variables: str) -> None:
        """Add variables to those that the template gave a function."""
        functions = self.client("lambda")
        name = self.resource(function, stack)
        found = functions.get_function_configuration(FunctionName=name)["Environment"]
        changed = {"Variables": {**found["Variables"], **variables}}
        functions.update_function_configuration(FunctionName=name, Environment=changed)

    def tick_api(self) -> None:
        """Have the API look after its open orders now, as its schedule does every minute."""
        name, event = self.resource("Api", API_STACK), b'{"kind": "tick"}'
        answer = self.client("lambda").invoke(FunctionName=name, Payload=event)
        assert "FunctionError" not in answer, answer["Payload"].read()

    def set_mapping(self, **changes: Any) -> None:
        """Change how the queue feeds the worker."""
        number = self.resource("WorkerTakesMessages")
        self.client("lambda").update_event_source_mapping(UUID=number, **changes)

    def policies(self, role: str, stack: str = STACK) -> list[Any]:
        """Return the policies of a role."""
        iam = self.client("iam", OWNERS.get(stack, aws.ACCOUNT))
        name = self.resource(role, stack)
        found = iam.list_role_policies(RoleName=name)["PolicyNames"]
        return [
            iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in found
        ]

    def role_arn(self, role: str, stack: str = STACK) -> str:
        """Return the ARN of a role."""
        return str(self._read_role(role, stack)["Arn"])

    def trust(self, role: str, stack: str = STACK) -> Any:
        """Return the policy that says who may assume a role."""
        return self._read_role(role, stack)["AssumeRolePolicyDocument"]

    def _read_role(self, role: str, stack: str) -> dict[str, Any]:
        iam = self.client("iam", OWNERS.get(stack, aws.ACCOUNT))
        found: dict[str, Any] = iam.get_role(RoleName=self.resource(role, stack))["Role"]
        return found

    def templates(self) -> str:
        """Return all that CloudFormation shows of the stacks to whoever may look at them."""
        cloudformation = self.client("cloudformation")
        return repr(
            [
                cloudformation.describe_stacks(),
                *[
                    what(StackName=stack)
                    for stack in (STACK, POOL_STACK, API_STACK)
                    for what in (
                        cloudformation.get_template,
                        cloudformation.describe_stack_events,
                        cloudformation.describe_stack_resources,
                    )
                ],
            ]
        )

    def environments(self) -> str:
        """Return what Lambda shows of the functions."""
        return repr(self.client("lambda").list_functions()["Functions"])


@contextmanager
def deploy(folder: Path) -> Iterator[Deployed]:
    """Start an AWS, and deploy to it by the commands of docs/deploy.md and docs/api.md."""
    with ministack.serving(folder) as url:
        target = Target.of_this_machine()
        secret, pat = folder / "webhook-secret", folder / "pat"
        secret.write_text(CANARY)
        pat.write_text(PAT)
        common = ("--deployment", DEPLOYMENT)
        machine = ("--python", target.python, "--architecture", target.architecture)
        stack = ("stack", *common, *machine, "--allow", "octo")
        printed = _run(url, folder, *stack, "--runners")
        printed += _run(
            url, folder, "secrets", *common, "--webhook-secret", str(secret), "--pat", str(pat)
        )
        deployed = Deployed(url, folder, printed)
        with closing(deployed):
            deployed.machines = machines.prepare(deployed.client)
            with (folder / "pools.toml").open("a") as pools:
                pools.write(machines.POOLS + guests.POOLS + garo.POOLS)
            deployed.printed += _run(url, folder, *stack, "--api", "yes")
            deployed.read_outputs()
            _deploy_guest(deployed)
            yield deployed


def _deploy_guest(deployed: Deployed) -> None:
    """Make the roles that the API assumes, with the credentials of the callers' account."""
    deployed.guest = guests.settle_in(lambda service: deployed.client(service, guests.ACCOUNT))
    api = ("--api-role", deployed.api_outputs["ApiRoleArn"])
    for caller in (guests.CALLER, garo.CALLER):
        command = ("account", "--deployment", DEPLOYMENT, "--caller", caller, *api)
        deployed.printed += _run(deployed.url, deployed.folder, *command, account=guests.ACCOUNT)


def _run(url: str, folder: Path, *arguments: str, account: str = aws.ACCOUNT) -> str:
    """Run one command; return what it printed."""
    environment = {
        **agent.base_environment(),
        **{key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "COVERAGE"))},
        "HOME": os.environ.get("HOME", str(folder)),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": account,
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    done = subprocess.run(
        [sys.executable, "-m", "launcher.deploy", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
