"""Read terraform-aws-github-runner's configuration of a pool, which says where the tokens are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.aws.calls import SSM, AwsError, Call, backoff
from sidecar.errors import TokenError
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.tokens.ssm import ParameterStore

SETTING = "SIDECAR_LAUNCH_CONFIG"
KEYS = (
    "agent_mode",
    "disable_default_labels",
    "enable_cloudwatch",
    "enable_jit_config",
    "run_as",
    "token_path",
)


@dataclass(frozen=True, slots=True)
class LaunchConfig:
    """The launcher's decisions for every runner of the pool."""

    token_path: str
    """The path below which it writes the token after the launch, as `<token_path>/<id>`."""
    just_in_time: bool
    """Whether that is a just-in-time configuration, else arguments of config.sh."""
    agent_mode: str
    run_as: str
    no_default_labels: bool
    cloudwatch: bool

    def list_unheeded(self, runner_user: str) -> list[str]:
        """List what it asks for and the agent does not do; `runner_user` runs the jobs."""
        found = [
            (
                self.agent_mode not in ("", "ephemeral"),
                f"agent_mode={self.agent_mode}: the runner runs one job all the same",
            ),
            (
                self.run_as not in ("", runner_user),
                f"run_as={self.run_as}: the runner runs as {runner_user} (SIDECAR_RUNNER_USER)",
            ),
            (self.cloudwatch, "enable_cloudwatch: the agent does not start CloudWatch's agent"),
        ]
        return [text for asked, text in found if asked]


async def read_launch_config(store: ParameterStore, path: str, timeout: float) -> LaunchConfig:
    """Read the configuration below `path` in one call. Raises TokenError after `timeout` seconds.

    It is older than any launch, so nothing is waited for that does not exist.
    """
    path = path.rstrip("/")
    action = f"cannot read the launcher's configuration {path}"
    call = Call(action, SSM, "ssm:GetParameters", SETTING)

    async def read() -> Mapping[str, str]:
        client = await store.connect()
        names = [f"{path}/{key}" for key in KEYS]
        answer = await client.get_parameters(Names=names, WithDecryption=True)
        return {
            found["Name"].rpartition("/")[2]: found["Value"].strip()
            for found in answer["Parameters"]
        }

    async def read_once() -> Mapping[str, str]:
        return await call.run(read)

    try:
        found = await call_with_retries(read_once, backoff(), seconds=timeout)
    except AwsError as error:
        raise TokenError(str(error)) from error
    if not found.get("token_path"):
        raise TokenError(f"{action}: there is no {path}/token_path (change {SETTING})")
    ephemeral = found.get("agent_mode") == "ephemeral"
    return LaunchConfig(
        token_path=found["token_path"].rstrip("/"),
        just_in_time=ephemeral and found.get("enable_jit_config") == "true",
        agent_mode=found.get("agent_mode", ""),
        run_as=found.get("run_as", ""),
        no_default_labels=found.get("disable_default_labels") == "true",
        cloudwatch=found.get("enable_cloudwatch") == "true",
    )
