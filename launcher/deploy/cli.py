"""The commands of `python -m launcher.deploy`: zip, stack, secrets, pools, account."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.deploy import api_stack, code, parameters, starter
from launcher.deploy.aws import Account
from launcher.deploy.caller_rights import find_api_rights, find_worker_rights
from launcher.deploy.parameters import APP_KEY, PAT, WEBHOOK_SECRETS, Secret
from launcher.deploy.stack import (
    TAG,
    Stack,
    deploy,
    read_outputs,
    read_parameters,
    read_template,
    stack_name,
)
from launcher.deploy.target import ARCHITECTURES, PYTHONS, Target
from launcher.errors import Exit, LaunchError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = {
    "github_url": "GitHubUrl",
    "scope": "Scope",
    "app_id": "GitHubAppId",
    "allow": "Allow",
    "kms_key": "KmsKeyArn",
    "alarm_email": "AlarmEmail",
    "concurrency": "Concurrency",
    "log_level": "LogLevel",
    "worker_subnets": "WorkerSubnets",
    "worker_security_groups": "WorkerSecurityGroups",
}
"""Options of `stack` that are parameters of launcher.yaml."""
RUNNER_OPTIONS = {"network": "Network", "endpoints": "Endpoints", "image": "Image"}
"""Those of runners.yaml; they do nothing without --runners."""
API_OPTIONS = {"api_issuer": "ApiIssuer", "api_audience": "ApiAudience"}
"""Those of api.yaml; they do nothing without an API."""
CPUS = {"arm64": "ARM64", "x86_64": "X86_64"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    given = _make_parser().parse_args(argv)
    try:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", getattr(given, "deployment", "default")):
            raise SettingsError("--deployment must be 1 to 32 letters, digits, '_' or '-'")
        given.command(given)
    except LaunchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit
    return Exit.DONE


def make_zip(given: argparse.Namespace) -> None:
    """Build the zip, check it, and report its size."""
    made = code.build(Target(given.python, given.architecture), given.output)
    say(made.report())


def deploy_stack(given: argparse.Namespace) -> None:
    """Deploy everything but the secrets: zip, pools, and one stack to three."""
    if bool(given.worker_subnets) != bool(given.worker_security_groups):
        raise SettingsError("--worker-subnets and --worker-security-groups belong together")
    if not given.runners and not given.pools.exists():
        raise SettingsError(f"there is no {given.pools}: write it, or let --runners write one")
    with closing(Account(given.region)) as account:
        if given.runners:
            _deploy_runners(account, given)
        text = _read(given.pools)
        pools = parameters.read_pools(text)
        if given.api == "yes":
            api_stack.check_callers(pools)
        rights = find_worker_rights(account, pools)
        target = Target(given.python, given.architecture)
        with tempfile.TemporaryDirectory(prefix="launcher-zip-") as folder:
            made = code.build(target, Path(folder) / "launcher.zip")
            say(made.report())
            bucket, key = code.upload(account, given.bucket, made)
        say(f"pools: {parameters.put_pools(account, given.deployment, text)}")
        chosen = _chosen(given, OPTIONS) | rights.parameters()
        chosen |= {"WorkerInVpc": "yes" if given.worker_subnets else "no"}
        chosen = {"WorkerSubnets": "", "WorkerSecurityGroups": "", **chosen}
        chosen |= {"CodeBucket": bucket, "CodeKey": key, "Deployment": given.deployment}
        chosen |= {"Runtime": target.runtime, "Architecture": target.architecture}
        name, tags = stack_name(given.deployment), {TAG: given.deployment}
        launcher = Stack(name, read_template("launcher.yaml"), chosen, tags)
        outputs = deploy(account, launcher, say)
        _say_outputs(outputs)
        if given.api == "no":
            api_stack.delete_api(account, given.deployment, say)
        elif given.api == "yes" or api_stack.is_deployed(account, given.deployment):
            options = _chosen(given, API_OPTIONS)
            _say_outputs(api_stack.deploy_api(account, pools, launcher, outputs, options, say))
        say("next: python -m launcher.deploy secrets --help")


def put_secrets(given: argparse.Namespace) -> None:
    """Write the secrets as SecureStrings, and say what to enter at GitHub."""
    if given.generate:
        if len(given.webhook_secret) != 1:
            raise SettingsError("--generate needs one --webhook-secret FILE: it writes this file")
        _write_new(given.webhook_secret[0], parameters.make_webhook_secret())
    texts = {WEBHOOK_SECRETS: "\n".join(_read(path).strip() for path in given.webhook_secret)}
    texts |= {APP_KEY: _read(given.app_key), PAT: _read(given.pat)}
    found = parameters.check([Secret(name, text) for name, text in texts.items() if text])
    if not found:
        raise SettingsError("no secret is given: see --help")
    with closing(Account(given.region)) as account:
        for name in parameters.put_secrets(account, given.deployment, found, given.kms_key):
            say(f"secret: {name}")
        outputs = read_outputs(account, stack_name(given.deployment))
    say(f"payload URL at GitHub: {outputs['WebhookUrl']}")
    say("content type: application/json; event: Workflow jobs; secret: that of the webhook")


def put_pools(given: argparse.Namespace) -> None:
    """Write the pools, if the functions are allowed what they need."""
    text = _read(given.pools)
    pools = parameters.read_pools(text)
    with closing(Account(given.region)) as account:
        wanted = {"launcher": find_worker_rights(account, pools).parameters()}
        if api_stack.is_deployed(account, given.deployment):
            wanted[api_stack.API] = find_api_rights(account, pools).parameters()
        for part, values in wanted.items():
            deployed = read_parameters(account, stack_name(given.deployment, part))
            if any(deployed.get(key) != value for key, value in values.items()):
                what = "the pools name other things of AWS, or have other roles, than before"
                raise LaunchError(Exit.SETTINGS, f"{what}: run launcher.deploy stack")
        say(f"pools: {parameters.put_pools(account, given.deployment, text)}")


def deploy_account(given: argparse.Namespace) -> None:
    """Make the role that the API assumes for a caller, in the account of this caller."""
    pools = parameters.read_pools(_read(given.pools))
    with closing(Account(given.region)) as account:
        outputs = api_stack.deploy_account(
            account, pools, given.caller, given.api_role, given.deployment, say
        )
        _say_outputs(outputs)


def say(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _deploy_runners(account: Account, given: argparse.Namespace) -> None:
    chosen = _chosen(given, RUNNER_OPTIONS) | {"Deployment": given.deployment}
    chosen["Architecture"] = CPUS[given.runner_architecture]
    name, tags = stack_name(given.deployment, "pool"), {TAG: given.deployment}
    outputs = deploy(account, Stack(name, read_template("runners.yaml"), chosen, tags), say)
    say(f"push the runners' image: {outputs['RepositoryUri']}:runner")
    if not given.pools.exists():
        text = starter.make_pools(outputs, chosen["Architecture"], given.allow or "")
        given.pools.write_text(text)
        say(f"pools: wrote {given.pools}")


def _chosen(given: argparse.Namespace, options: dict[str, str]) -> dict[str, str]:
    values = {name: getattr(given, option) for option, name in options.items()}
    return {name: str(value) for name, value in values.items() if value is not None}


def _say_outputs(outputs: dict[str, str]) -> None:
    for key, value in sorted(outputs.items()):
        say(f"  {key}: {value}")


def _read(path: Path | None) -> str:
    """Read a file, or stdin for `-`; empty where none is named. Raises SettingsError."""
    if path is None:
        return ""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"cannot read {path}: {reason}") from error


def _write_new(path: Path, text: str) -> None:
    """Write a file that only its owner reads, and that did not exist."""
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    say(f"wrote {path}: enter its content at GitHub as the webhook's secret, then delete it")


# --- options ------------------------------------------------------------------------------------


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launcher.deploy", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    zipped = _add(commands, "zip", make_zip)
    zipped.add_argument("--output", type=Path, default=Path("launcher.zip"), metavar="FILE")
    _add_target(zipped)
    _add_stack(_add(commands, "stack", deploy_stack))
    secrets = _add(commands, "secrets", put_secrets)
    _add_account(secrets)
    secrets.add_argument("--generate", action="store_true", help="make the webhook's secret")
    secrets.add_argument(
        "--webhook-secret",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="the webhook's secret; given twice while one replaces the other, both are accepted",
    )
    for option, what in {
        "--app-key": "the GitHub App's private key",
        "--pat": "the personal access token",
    }.items():
        secrets.add_argument(option, type=Path, metavar="FILE", help=f"file of {what}; - is stdin")
    secrets.add_argument("--kms-key", metavar="ARN", help="KMS key of your own")
    pools = _add(commands, "pools", put_pools)
    _add_account(pools)
    _add_pools(pools)
    account = _add(commands, "account", deploy_account)
    _add_account(account)
    _add_pools(account)
    account.add_argument("--caller", required=True, metavar="NAME", help="the caller's name")
    what = "role of the API's function: ApiRoleArn of its stack"
    account.add_argument("--api-role", required=True, metavar="ARN", help=what)
    return parser


def _add_stack(stack: argparse.ArgumentParser) -> None:
    _add_account(stack)
    _add_target(stack)
    _add_pools(stack)
    stack.add_argument("--bucket", help="bucket for the code; default: one is made")
    stack.add_argument("--runners", action="store_true", help="VPC, cluster, ECR and roles too")
    stack.add_argument("--network", choices=("public", "nat"), help="of --runners")
    stack.add_argument("--endpoints", choices=("no", "yes"), help="of --runners")
    stack.add_argument("--image", help="image of the runners, of --runners")
    stack.add_argument("--runner-architecture", choices=tuple(CPUS), default="x86_64")
    text = "deploy the API, or delete it; default: as it is"
    stack.add_argument("--api", choices=("yes", "no"), help=text)
    for option, name in {**OPTIONS, **API_OPTIONS}.items():
        text = f"the template's {name}"
        stack.add_argument("--" + option.replace("_", "-"), metavar="VALUE", help=text)


def _add(commands: Any, name: str, command: Any) -> argparse.ArgumentParser:
    summary = command.__doc__.partition("\n")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, allow_abbrev=False
    )
    parser.set_defaults(command=command)
    return parser


def _add_account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deployment", default="default", help="its name; default: default")
    parser.add_argument(
        "--region", default=os.environ.get("AWS_REGION"), help="default: AWS_REGION"
    )


def _add_pools(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pools", type=Path, default=Path("pools.toml"), metavar="FILE")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", choices=PYTHONS, default=Target.python)
    parser.add_argument("--architecture", choices=tuple(ARCHITECTURES), default=Target.architecture)
