"""The settings of each command: names, kinds, defaults, and what fits together.

Each is a `LAUNCHER_*` variable; what is no secret is an option too. Region, endpoints and
credentials of AWS are set by AWS's own variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from launcher.settings import checks
from launcher.settings.machines import MachineSettings, Names, check_place
from sidecar import fields, values
from sidecar.fields import GivenSettings, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "LAUNCHER_"
SECRETS = ("github_app_key", "github_pat", "webhook_secrets")
"""Settings that are variables only: everybody may read a command line."""

POOLS = (
    "where the pools are: the path of a TOML file; ssm: and a parameter, or several with '+' "
    "between them; families: and how the families of the task definitions begin"
)
QUEUE = "SQS queue of what is demanded"
QUEUE_EXAMPLE = "https://sqs.eu-central-1.amazonaws.com/123456789012/runner-demand"
POOLS_EXAMPLE = "ssm:/runner-launcher/pools"


def required(help_: str, example: str, **more: Any) -> Any:
    """Define a setting without a default."""
    return Field(description=help_, examples=[example], **more)


Seconds = Annotated[float, BeforeValidator(checks.parse_seconds)]
"""A time: seconds, or a number with s, m, h or d behind it."""


class LogSettings(GivenSettings):
    """The settings that every command has."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    log_format: fields.LogFormat = fields.log_format()
    log_level: fields.LogLevel = fields.log_level()

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check that the settings fit together; return a line for each mistake."""
        del given
        return []


class ServiceSettings(LogSettings):
    """The settings of every service: where it listens, and how it stops."""

    stop_timeout: Annotated[float, Field(gt=0, le=3600)] = setting(
        25.0, "seconds after a stop in which what has begun may end", "25"
    )
    listen: Annotated[str, AfterValidator(checks.check_listen)] = setting(
        ":8080",
        "address of the webhook, of the API and of `/healthz`; without a host: all",
        "127.0.0.1:8080",
    )


class QueueSettings(ServiceSettings):
    """The settings of webhook and worker: the queue between them."""

    queue_url: Annotated[str, AfterValidator(checks.check_queue_url)] = required(
        QUEUE, QUEUE_EXAMPLE
    )


class WebhookSettings(QueueSettings):
    """The settings of `webhook`."""

    webhook_secrets: SecretStr = required(
        "secrets of the webhook, each accepted, with commas between them; or their places: file:, "
        "ssm: or secretsmanager: and a name",
        "secretsmanager:webhook",
        repr=False,
    )
    allow: Annotated[Names, AfterValidator(checks.check_allowed)] = setting(
        (), "owners and repositories whose jobs are taken; default: all", "octo-org,mona/hello"
    )
    webhook_path: Annotated[str, AfterValidator(checks.check_path)] = setting(
        "/webhook", "path at which deliveries come in", "/webhook"
    )


class CredentialSettings(LogSettings):
    """The credential for GitHub: an App or a token."""

    github_app_id: fields.AppId | None = fields.app_id("the GitHub App that registers the runners")
    github_app_key: SecretStr | None = fields.app_key()
    github_pat: SecretStr | None = fields.pat("registers the runners")

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check that there is one credential for GitHub, and that it is complete."""
        app, pat = "github_app_id" in given or "github_app_key" in given, "github_pat" in given
        if not (app or pat):
            return [line("github_app_id", "is missing, and so is LAUNCHER_GITHUB_PAT")]
        if app and pat:
            return [line("github_pat", "contradicts LAUNCHER_GITHUB_APP_ID: set one of them")]
        return [
            line(field, "is missing: an App is its id and its key")
            for field in ("github_app_id", "github_app_key")
            if app and field not in given
        ]


class NameSettings(LogSettings):
    """The settings by which a launcher knows what is its own."""

    parameter_prefix: Annotated[str, AfterValidator(checks.check_parameter_prefix)] = setting(
        "/runner-launcher/tokens",
        "path of the SSM parameters that hold the tokens; the task's id follows it",
        "/runner-launcher/tokens",
    )
    name_prefix: Annotated[str, AfterValidator(checks.check_name_prefix)] = setting(
        "ecs-", "prefix of the runners' names; the task's id follows it", "ecs-"
    )
    deployment: Annotated[str, AfterValidator(checks.check_deployment)] = setting(
        "default", "name that keeps several launchers in one account apart", "team-a"
    )


class PlaceSettings(NameSettings):
    """The settings of the place where tasks are started."""

    container: Annotated[str, AfterValidator(checks.check_name)] = setting(
        "runner", "container of the task definition that holds the agent", "runner"
    )
    capacity_providers: Names = setting(
        (),
        "capacity providers in the order in which they are asked; of machines: spot, on-demand; "
        "default: the cluster's own, on-demand",
        "FARGATE_SPOT,FARGATE",
    )
    launch_type: Literal["EC2", "FARGATE", "EXTERNAL"] | None = setting(
        None, "launch type, instead of capacity providers", "FARGATE"
    )
    subnets: Names = setting(
        (), "subnets of the tasks, where they have interfaces of their own", "subnet-0a,subnet-0b"
    )
    security_groups: Names = setting((), "security groups of the tasks", "sg-0123")
    public_ip: bool = setting(
        False,
        "give each task a public address: without NAT gateway it reaches nothing else",
        "true",
    )

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check what ECS takes together."""
        problems = super().check_together(given)
        if "launch_type" in given and "capacity_providers" in given:
            what = "contradicts LAUNCHER_CAPACITY_PROVIDERS: ECS takes one of them"
            problems.append(line("launch_type", what))
        needs_subnet = "launch_template" not in given  # which may have one
        has_more = "security_groups" in given or "public_ip" in given
        if needs_subnet and has_more and "subnets" not in given:
            problems.append(line("subnets", "is missing: a network interface needs a subnet"))
        return problems


class Settings(MachineSettings, PlaceSettings, CredentialSettings):
    """The settings of `start` and `stop`: tasks or machines of one order."""

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check that there are tasks or machines, and one App: these commands serve one scope."""
        problems = [line(*each) for each in check_place(given)] + super().check_together(given)
        if "," in str(given.get("github_app_id", "")):
            problems.append(line("github_app_id", "must be one App; work and serve take several"))
        return problems

    github_url: Annotated[str, AfterValidator(values.check_github_url)] = required(
        "repository, organization or enterprise whose jobs the runners take",
        "https://github.com/octo-org/octo-repo",
    )
    cluster: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "ECS cluster that the tasks run in, by name or ARN; tasks need it", "runners"
    )
    task_definition: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None,
        "task definition of the runners: family, family:revision or ARN; tasks need it",
        "runner",
    )
    just_in_time: bool = setting(
        True,
        "register each runner just in time; false: the agent registers it by a registration token",
        "false",
    )
    runner_group: Annotated[str, AfterValidator(values.check_argument)] | None = setting(
        None, "runner group: its name, or just in time also its number", "linux"
    )


class ServedSettings(CredentialSettings):
    """The settings of what knows several scopes of one GitHub: where it is, and as who."""

    github_url: Annotated[str, AfterValidator(checks.check_github)] = setting(
        "https://github.com",
        "GitHub whose jobs are served; with a path, the one scope that runners are registered at",
        "https://octo.ghe.com",
    )
    scope: Annotated[str, AfterValidator(checks.check_scope)] = setting(
        "repository",
        "where runners are registered: at the job's repository or organization, or at "
        "enterprise: and its slug",
        "organization",
    )
    github_app_id: fields.AppId | None = fields.app_id(
        "the GitHub App that registers the runners; several with commas, and as many keys"
    )

    @property
    def apps(self) -> list[tuple[str, str]]:
        """Return the id of each App, and its key or where that is."""
        if self.github_app_id is None or self.github_app_key is None:
            return []
        return checks.split_apps(self.github_app_id, self.github_app_key.get_secret_value())

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check that each App has its key."""
        problems = super().check_together(given)
        if "github_app_id" in given and "github_app_key" in given:
            try:
                checks.split_apps(str(given["github_app_id"]), str(given["github_app_key"]))
            except ValueError as error:
                problems.append(line("github_app_id", str(error)))
        return problems


class RecordSettings(ServedSettings, PlaceSettings, ServiceSettings):
    """The settings of what starts tasks from pools, and keeps records of them.

    Those of a place are for pools that are task definitions.
    """

    table: Annotated[str, AfterValidator(checks.check_name)] = required(
        "DynamoDB table of the launches' records", "runner-launches"
    )
    pools: Annotated[str, AfterValidator(checks.check_pools)] = required(POOLS, POOLS_EXAMPLE)
    cluster: Annotated[str, AfterValidator(checks.check_name)] = setting(
        "default", "ECS cluster of pools that are task definitions, by name or ARN", "runners"
    )
    maximum: Annotated[int, Field(ge=1)] | None = setting(
        None, "runners of all pools together that may be starting or living", "500"
    )
    repository_maximum: Annotated[int, Field(ge=1)] | None = setting(
        None, "the same of each repository", "50"
    )


class WorkSettings(RecordSettings, QueueSettings):
    """The settings of `work`."""

    messages: Annotated[int, Field(ge=1, le=1000)] = setting(
        20, "messages that are handled at the same time", "20"
    )


class ApiSettings(RecordSettings):
    """The settings of `api`."""

    api_issuer: Annotated[str, AfterValidator(checks.check_issuer)] = setting(
        "https://token.actions.githubusercontent.com",
        "issuer of GitHub's OIDC tokens; of a server of your own it ends with `/_services/token`",
        "https://github.example.com/_services/token",
    )
    api_audience: Annotated[str, AfterValidator(checks.check_audience)] = setting(
        "runner-launcher",
        "audience that a caller's OIDC token must be made for: a name that nothing else uses",
        "runner-launcher",
    )


class ServeSettings(WorkSettings, WebhookSettings):
    """The settings of `serve`: both in one process."""


class SweepSettings(ServedSettings, NameSettings):
    """The settings of `sweep`. Table, pools and queue are those of the worker, if there is one."""

    every: Seconds | None = setting(
        None, "time between two sweeps; default: sweep once, and end", "5m"
    )
    dry_run: bool = setting(False, "say what would be ended and sent again, and do nothing", "true")
    pause: Annotated[Seconds, Field(ge=1, le=3600)] = setting(
        60.0, "time between the two looks before anything is ended, at least", "60s"
    )
    cluster: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "ECS cluster of pools that are task definitions, and of tasks of no pool", "runners"
    )
    clusters: Names = setting(
        (), "ECS clusters that are looked at, beside those that pools and records name", "a,b"
    )
    table: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None,
        "DynamoDB table of the launches' records, and of what the first look found",
        "launches",
    )
    pools: Annotated[str, AfterValidator(checks.check_pools)] | None = setting(
        None, POOLS, POOLS_EXAMPLE
    )
    queue_url: Annotated[str, AfterValidator(checks.check_queue_url)] | None = setting(
        None,
        QUEUE,
        QUEUE_EXAMPLE,
    )
    webhook_url: Annotated[str, AfterValidator(checks.check_webhook_url)] | None = setting(
        None,
        "payload URL of webhooks of organizations and repositories whose lost deliveries are sent "
        "again; an App's webhook needs none",
        "https://runners.example.com/webhook",
    )
    machines: bool = setting(False, "look at machines of EC2 also where no pool has them", "true")
    boot_limit: Annotated[Seconds, Field(ge=60, le=86_400)] = setting(
        1800.0,
        "time after which a task or machine of no pool must have a runner that is online",
        "30m",
    )
    life_limit: Annotated[Seconds, Field(ge=60)] | None = setting(
        None, "time after which a task or machine of no pool is ended if its runner is idle", "12h"
    )
    others_paths: Annotated[Names, AfterValidator(checks.check_parameter_paths)] = setting(
        (),
        "paths of SSM parameters of other launchers that hold nothing but tokens: what is older "
        "than an hour is deleted",
        "/gh_actions/token",
    )
    others_names: Annotated[Names, AfterValidator(checks.check_others_names)] = setting(
        (),
        "how the names of other launchers' ephemeral runners begin: those whose task is gone are "
        "removed",
        "fargate-runner-",
    )
    others_tags: Annotated[Names, AfterValidator(checks.check_tags)] = setting(
        (),
        "tags of other launchers' tasks and machines, each enough: those without a runner are "
        "ended",
        "ghr:Application=github-action-runner",
    )


class DoctorSettings(ServedSettings, PlaceSettings):
    """The settings of `doctor`: those of what is examined, as far as there is any of it."""

    pools: Annotated[str, AfterValidator(checks.check_pools)] | None = setting(
        None, POOLS, POOLS_EXAMPLE
    )
    cluster: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "ECS cluster of the task definition, or of pools that are task definitions", "runners"
    )
    task_definition: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "task definition that `start` would start tasks from", "runner"
    )
    just_in_time: bool = setting(
        True, "whether `start` would register these runners just in time", "false"
    )
    runner_group: Annotated[str, AfterValidator(values.check_argument)] | None = setting(
        None, "runner group of these runners, by its name or number", "linux"
    )
    repositories: Annotated[Names, AfterValidator(checks.check_repositories)] = setting(
        (),
        "repositories whose jobs are served: runner groups, webhooks and the access token are "
        "examined for them",
        "octo-org/hello",
    )
    role: Annotated[str, AfterValidator(values.check_role_arn)] | None = setting(
        None,
        "role of the worker, whose rights are examined; default: the role that asks",
        "arn:aws:iam::123456789012:role/runner-launcher-worker",
    )
    table: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "DynamoDB table of the launches' records", "runner-launches"
    )
    queue_url: Annotated[str, AfterValidator(checks.check_queue_url)] | None = setting(
        None, QUEUE, QUEUE_EXAMPLE
    )
    webhook_url: Annotated[str, AfterValidator(checks.check_webhook_url)] | None = setting(
        None,
        "payload URL of webhooks of organizations and repositories; an App's webhook needs none",
        "https://runners.example.com/webhook",
    )


class QuestionSettings(ServedSettings, NameSettings):
    """The settings of what only asks. What is not set is not asked, and that is said.

    Table, pools and queue are those of the worker, if there is one.
    """

    table: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "DynamoDB table of the launches' records", "runner-launches"
    )
    pools: Annotated[str, AfterValidator(checks.check_pools)] | None = setting(
        None, POOLS, POOLS_EXAMPLE
    )
    queue_url: Annotated[str, AfterValidator(checks.check_queue_url)] | None = setting(
        None, QUEUE, QUEUE_EXAMPLE
    )
    cluster: Annotated[str, AfterValidator(checks.check_name)] = setting(
        "default", "ECS cluster of tasks that no record and no ARN tells of", "runners"
    )
    container: Annotated[str, AfterValidator(checks.check_name)] = setting(
        "runner", "container of the task definition that holds the agent", "runner"
    )
    maximum: Annotated[int, Field(ge=1)] | None = setting(
        None, "runners of all pools together that may be starting or living", "500"
    )
    repository_maximum: Annotated[int, Field(ge=1)] | None = setting(
        None, "the same of each repository", "50"
    )

    @property
    def asks_github(self) -> bool:
        """Whether there is a credential for GitHub."""
        return self.github_pat is not None or self.github_app_id is not None

    @classmethod
    def check_together(cls, given: Mapping[str, Any]) -> list[str]:
        """Check the credential for GitHub, if there is one."""
        if not any(field in given for field in ("github_app_id", "github_app_key", "github_pat")):
            return []
        return super().check_together(given)


class StatusSettings(QuestionSettings):
    """The settings of `status`."""

    table: Annotated[str, AfterValidator(checks.check_name)] = required(
        "DynamoDB table of the launches' records", "runner-launches"
    )


MODELS: dict[str, type[LogSettings]] = {
    "start": Settings,
    "stop": Settings,
    "webhook": WebhookSettings,
    "work": WorkSettings,
    "serve": ServeSettings,
    "api": ApiSettings,
    "sweep": SweepSettings,
    "doctor": DoctorSettings,
    "explain": QuestionSettings,
    "status": StatusSettings,
}
"""The settings of each command."""


def option(field: str) -> str:
    """Return the option of a setting: `launch_type` is `--launch-type`."""
    return "--" + field.replace("_", "-")


def variable(field: str) -> str:
    """Return the variable of a setting: `launch_type` is `LAUNCHER_LAUNCH_TYPE`."""
    return PREFIX + field.upper()


def example(field: str, model: type[LogSettings] | None = None) -> str:
    """Return the example value of a setting."""
    models = [model] if model else MODELS.values()
    info = next(each.model_fields[field] for each in models if field in each.model_fields)
    return str((info.examples or [""])[0])


def line(field: str, what: str, model: type[LogSettings] | None = None) -> str:
    """Make the line about one mistake."""
    return f"{variable(field)} {what} (example: {variable(field)}={example(field, model)})"
