"""A stage whose every service can fail: the agent reaches each of them through a proxy.

The runner's folder is a copy of one that was installed once, so that a stage costs little.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local import faults, imds, oidc
from local.github.apps import fresh_key
from local.github.payloads import number_of
from local.runner import install
from local.stage import PAT
from tests.lives import stage as stages
from tests.lives.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["PAT"]

HURRIED = (sys.executable, "-m", "tests.failures.hurried")
make_app_key = functools.cache(fresh_key)


class FailingStage(Stage):
    """The stage of one life; `hub` is the proxy to GitHub, `task` the one to the ECS agent."""

    hub: faults.Proxy
    task: faults.Proxy
    metadata: faults.Proxy
    """The proxy to the metadata service of a Spot machine."""
    issuer: oidc.Issuer
    tokens: faults.Proxy
    """The proxy to GitHub's issuer of OIDC tokens."""

    @property
    def github_url(self) -> str:
        """The URL that the runner registers with: through the proxy."""
        return f"{self.hub.url}/{self.repository}"

    def proxy(self, name: str) -> faults.Proxy:
        """Return the proxy to "ssm", "sts", "github", "oidc", "ecs" or "imds"."""
        return {
            "ssm": self.ssm,
            "sts": self.ssm,
            "github": self.hub,
            "ecs": self.task,
            "imds": self.metadata,
            "oidc": self.tokens,
        }[name]

    def admit_job(self) -> str:
        """Return the URL by which the job asks for its OIDC token: through the proxy."""
        number = number_of(self.repository)
        url = self.issuer.admit_job(
            repository=self.repository, repository_id=number, run_id=None, run_attempt=None
        )
        return url.replace(self.issuer.url, self.tokens.url)

    def environment(self) -> dict[str, str]:
        """Return the agent's environment, with the proxies' URLs, and without the coverage tool.

        There are hundreds of these lives: measuring them would take too long.
        """
        return {
            key: value.replace(self.ecs.url, self.task.url)
            for key, value in super().environment().items()
            if not key.startswith("COVERAGE")
        }

    def install_app(self) -> dict[str, str]:
        """Install an App at GitHub; returns the settings that make the agent use it."""
        private, *numbers = make_app_key()
        app = self.world.apps.add("runners", *numbers)
        self.world.apps.install(app, "octo")
        return {"SIDECAR_GITHUB_APP_ID": str(app.id), "SIDECAR_GITHUB_APP_KEY": private}


@asynccontextmanager
async def open_stage(moto: str) -> AsyncIterator[FailingStage]:
    """Open a stage for one life, in front of the SSM at `moto`."""
    opening = stages.open_stage(moto, kind=FailingStage, install_runner=_copy_runner)
    async with (
        opening as stage,
        faults.serving(stage.github.url) as stage.hub,
        faults.serving(stage.ecs.url) as stage.task,
        imds.serving(instance=imds.Instance(life_cycle="spot", token_required=True)) as instance,
        faults.serving(instance.url) as stage.metadata,
        oidc.serving() as stage.issuer,
        faults.serving(stage.issuer.url) as stage.tokens,
    ):
        # How long GitHub waits is not what is tested here. For a job's runner it waits as usual:
        # none dies, and one that stands still renews its job late, which GitHub would give up.
        stage.world.settings.session_timeout = 1.0
        yield stage


def _copy_runner(folder: Path) -> Path:
    return Path(shutil.copytree(_install_template(), folder, symlinks=True))


@functools.cache
def _install_template() -> Path:
    return install(Path(tempfile.mkdtemp(prefix="runner-")) / "runner")
