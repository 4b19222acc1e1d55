"""Define every setting of the agent: its type, its default, its line of help.

Each is a `SIDECAR_*` variable and an option of the same name. Region, endpoints and credentials
of AWS are set by AWS's own variables, which the AWS library reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from sidecar import defaults, fields, host, values
from sidecar.fields import GivenSettings, setting
from sidecar.settings import contracts
from sidecar.settings.given_files import read_session_policy
from sidecar.settings.given_roles import GivenRoles  # noqa: TC001  the library reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "SIDECAR_"


class Settings(GivenSettings):
    """The settings of one life, checked and frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    platform: Annotated[Literal["auto", "ecs", "ec2"], BeforeValidator(values.lower_case)] = (
        setting(
            "auto",
            "where the agent runs: in a task of ECS, or on a machine of EC2, whose metadata then "
            "say who it is; auto: ECS where ECS's variable is set, else EC2 if the metadata "
            "service answers within a second",
            "ec2",
        )
    )
    token_parameter: Annotated[str, AfterValidator(values.check_parameter_name)] | None = setting(
        None,
        "SSM parameter that holds a registration token, JSON, arguments of config.sh or a "
        "just-in-time configuration; {task} in its name is replaced by the task's own id, or "
        "{instance} by the machine's",
        "/actions/tokens/0f3a",
        repr=False,  # people put the token itself here: it must not be shown
    )
    token: SecretStr | None = setting(
        None,
        "the same as plain text, for launchers without a parameter: everybody who may describe "
        "the task can read it",
        "ghs_…",
        repr=False,
    )
    token_key: SecretStr | None = setting(
        None,
        "key that opens the token parameter, where its value is sealed: a launcher makes one for "
        "each task, so that no job can use the token",
        "3q2-7w…",
        repr=False,
    )
    github_app_id: fields.AppId | None = fields.app_id(
        "a GitHub App that creates registration tokens"
    )
    github_app_key: SecretStr | None = fields.app_key()
    github_pat: SecretStr | None = fields.pat("creates registration tokens")
    just_in_time: bool = setting(
        False,
        "register just in time, by GitHub's API alone: without token and configure step",
        "true",
    )
    token_timeout: Annotated[float, Field(gt=0, le=86400)] = setting(
        300.0, "seconds to wait for the token parameter", "300"
    )
    github_url: Annotated[str, AfterValidator(values.check_github_url)] | None = setting(
        None,
        "repository, organization or enterprise to register with; the token parameter may hold it",
        "https://github.com/octo-org/octo-repo",
    )
    launcher: Annotated[
        str, BeforeValidator(values.lower_case), AfterValidator(contracts.check_choice)
    ] = setting(
        "auto",
        "launcher whose variables are read beside these, by its name; native reads none; auto "
        "recognises it by its variables",
        "native",
    )
    github_server: Annotated[str, AfterValidator(values.check_github_server)] | None = setting(
        None,
        "GitHub server, for launchers that set only owner and repository; default: github.com",
        "https://github.example.com",
    )
    launch_config: Annotated[str, AfterValidator(values.check_parameter_name)] | None = setting(
        None,
        "SSM path of terraform-aws-github-runner's configuration: its tag ghr:ssm_config_path",
        "/github-action-runners/build/runners/config",
    )
    launch_id: Annotated[str, AfterValidator(values.check_launch_id)] | None = setting(
        None,
        "id by which a launcher names this machine's token; default: the machine's id, or, for "
        "terraform, the task's",
        "i-0123456789abcdef0",
    )
    name: Annotated[str, AfterValidator(values.check_runner_name)] | None = setting(
        None,
        "name of the runner; default: the prefix, the task's or machine's id and random characters",
        "build-1",
    )
    name_prefix: Annotated[str, AfterValidator(values.check_name_prefix)] = setting(
        "ecs-", "prefix of the name, where no name is set; default on a machine: ec2-", "ecs-"
    )
    labels: Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.parse_labels)] = setting(
        (), "labels beside the default ones, separated by commas", "ecs,large"
    )
    no_default_labels: bool = setting(
        False, "leave out the default labels: self-hosted, the system, the architecture", "true"
    )
    disable_update: bool = setting(
        True,
        "tell the runner not to update itself; false for a GitHub server that refuses that, which "
        "else takes a second try",
        "false",
    )
    runner_group: Annotated[str, AfterValidator(values.check_argument)] | None = setting(
        None,
        "runner group of the organization or enterprise: its name, or just in time also its number",
        "production",
    )
    work_dir: Annotated[str, AfterValidator(values.check_argument)] = setting(
        "_work",
        "folder for the job, absolute or within the runner's folder; {name} in it is replaced by "
        "the runner's name, and the folder is then removed at the end",
        "_work",
    )
    runner_dir: Annotated[Path, AfterValidator(Path.absolute)] = setting(
        Path(host.DEFAULT_RUNNER_DIR), "folder of the actions runner", host.DEFAULT_RUNNER_DIR
    )
    runner_user: str | None = setting(
        None,
        "user that the runner's processes run as when the agent is root; default: runner",
        "runner",
    )
    idle_limit: Annotated[float, Field(ge=1)] | None = setting(
        None, "seconds that the runner waits for a job; then it ends with exit code 18", "900"
    )
    lifetime_limit: Annotated[float, Field(ge=1)] | None = setting(
        None, "seconds after which the agent stops as if signalled: exit code 19", "21600"
    )
    session_limit: Annotated[
        Annotated[float, Field(ge=1)] | None, BeforeValidator(values.none_if_off)
    ] = setting(
        300.0,
        "seconds that the runner may fail to open a session at GitHub, or off; then it ends with "
        "exit code 15. A session held by another process takes 240 s of its own (exit code 23)",
        "300",
    )
    spot_watch: bool = setting(
        False,
        "look for Spot notices of the instance: some tasks get no SIGTERM then; default on a Spot "
        "machine: true",
        "true",
    )
    stop_timeout: Annotated[float, Field(ge=1, le=3600)] = setting(
        defaults.STOP_TIMEOUT, "stopTimeout of the container, in seconds: the stop budget", "30"
    )
    health_address: Annotated[
        values.Address | None, BeforeValidator(values.parse_address_or_off)
    ] = setting(
        values.parse_address(defaults.HEALTH_ADDRESS),
        "address of /healthz, /readyz and /metrics, or off",
        defaults.HEALTH_ADDRESS,
    )
    log_format: fields.LogFormat = fields.log_format()
    log_level: fields.LogLevel = fields.log_level()
    metrics_namespace: Annotated[str, AfterValidator(values.check_namespace)] | None = setting(
        None,
        "CloudWatch namespace of the metrics that the final event then holds",
        "Runners",
    )
    job_summary: Annotated[Literal["on", "off"], BeforeValidator(values.lower_case)] = setting(
        "off",
        "whether the run's summary at GitHub says what the job used of its task, and which smaller "
        "task would have done; the final event always does",
        "on",
    )
    relay: Annotated[
        Literal["auto", "local", "netfilter", "pass-through", "off"],
        BeforeValidator(values.lower_case),
    ] = setting(
        "auto",
        "how jobs and their containers get the task role's credentials: local, netfilter or "
        "pass-through; auto chooses what fits the task, off relays none",
        "auto",
    )
    relay_required: bool = setting(
        False, "end with exit code 14 if the relay gets no credentials", "true"
    )
    relay_address: Annotated[values.Address, BeforeValidator(values.parse_address)] = setting(
        values.Address("127.0.0.1", 0),
        "address of the relay; port 0 takes a free one. With netfilter only the port is used",
        "127.0.0.1:0",
    )
    relay_imds: bool = setting(
        True,
        "answer the requests of containers to instance metadata (IMDSv2) too; else refuse them",
        "false",
    )
    job_role_arn: Annotated[str, AfterValidator(values.check_role_arn)] | None = setting(
        None,
        "role that jobs get by sts:AssumeRole, instead of the task role",
        "arn:aws:iam::123456789012:role/job",
    )
    job_policy: Annotated[str, AfterValidator(read_session_policy)] | None = setting(
        None,
        "session policy that limits the jobs' role, or the task role: JSON, or file: and a path",
        "file:/etc/job-policy.json",
        repr=False,  # an error would show the whole policy
    )
    roles: Annotated[GivenRoles, NoDecode] = setting(
        None,
        "rules that give each job, and each container, its own role: TOML, or file: and a path, or "
        "ssm: and the names of parameters with '+' between them",
        "file:/etc/roles.toml",
        repr=False,  # an error would show the whole document
    )
    docker_proxy: Annotated[Literal["auto", "on", "off"], BeforeValidator(values.lower_case)] = (
        setting(
            "auto",
            "whether jobs reach the docker daemon through the agent's proxy, which gives each "
            "container its credentials: on ends with exit code 14 if there can be no proxy, auto "
            "does without",
            "on",
        )
    )
    docker_strict: bool = setting(
        False,
        "let jobs use docker only in known ways that give no rights on the daemon's machine: "
        "nothing privileged, no folders but the job's, no containers of others",
        "true",
    )
    docker_cleanup: Annotated[Literal["job", "off"], BeforeValidator(values.lower_case)] = setting(
        "job",
        "what happens after a job to the containers, networks and volumes that it created through "
        "the proxy: job removes them, off leaves them and names them in the log",
        "job",
    )
    ecr_registries: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(values.parse_registries)] | None,
        NoDecode,
        BeforeValidator(values.none_if_off),
    ] = setting(
        (),
        "registries of ECR, separated by commas, from which jobs get private images with their own "
        "role, beside the registry of the agent's own account and region; off: none at all. Needs "
        "amazon-ecr-credential-helper",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
    )
    shared_dir: Annotated[Path, AfterValidator(values.check_shared_dir)] | None = setting(
        None,
        "folder that agent and docker daemon share at the same path, if the daemon runs in "
        "another container: the proxy's socket and the job's folder are made in it",
        "/mnt/runner",
    )


DOCUMENTS = {"roles"}
"""Settings that may end with a quotation mark, since their value is a whole document."""
SECRETS = {"token", "github_app_key", "github_pat"}
"""Settings that are variables only."""
SOURCES = ("token_parameter", "token", "github_app_id", "github_app_key", "github_pat")
"""Settings that bring a registration token, or a credential that creates one."""
TAGGED = ("token_parameter", "github_url", "name", "name_prefix", "labels", "runner_group")
"""Settings that a machine's tag of the variable's name may hold: what each launch has of its own.

None of them gives a job more rights: whoever may tag a machine need not be allowed to change it.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """The variables that ECS sets in a container; None where one is not set."""

    region: str | None
    """AWS_REGION, which ECS sets and botocore does not read; None leaves it to botocore."""
    metadata_uri: str | None
    agent_uri: str | None
    """ECS_AGENT_URI: the endpoint of scale-in protection."""
    instance_uri: str
    """AWS_EC2_METADATA_SERVICE_ENDPOINT, as AWS SDKs read it: the instance metadata service."""
    credentials_relative_uri: str | None
    credentials_full_uri: str | None
    credentials_token: str | None
    credentials_token_file: str | None
    docker_host: str | None
    """DOCKER_HOST: where docker clients look for the daemon."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that a life is started with."""

    settings: Settings
    task: Task
    user: host.User | None
    passed_on: Mapping[str, str]
    """The environment of the runner and its jobs: without the agent's own variables."""
    warnings: tuple[str, ...]
    launcher: contracts.Reading = contracts.NO_LAUNCHER
    """The launcher whose variables were read, too."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """What the instance metadata say about the machine that this is; empty in a task."""
    command: tuple[str, ...] = ()
    """The command to supervise instead of a runner; empty for a runner."""


def option(field: str) -> str:
    """Return the option of a setting: `token_parameter` is `--token-parameter`."""
    return "--" + field.replace("_", "-")


def variable(field: str) -> str:
    """Return the variable of a setting: `token_parameter` is `SIDECAR_TOKEN_PARAMETER`."""
    return PREFIX + field.upper()
