"""In strict mode a job runs as without: its container, a service, actions, and a build."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.engines import lives, proxied, tools, workflow
from tests.engines.engine import PATH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_a_job_with_containers_succeeds(place: Place, root: Path) -> None:
    """As the runner starts them; only folders of the machine's are not to be mounted."""
    engine = place.engine
    with workflow.serve_images(place.task, root), tools.create(engine) as options:
        mounts = shlex.join(options)
        service = {**workflow.MORE["services"]["speaker"], "options": mounts}
        more = {
            **workflow.MORE,
            "container": {"image": workflow.BASE, "options": mounts},
            "services": {"speaker": service},
        }
        own = {"step, container": f"docker run --rm {mounts} {workflow.BASE} env"}
        steps = {**workflow.STEPS, **own}.values()
        with proxied.share_folder(engine) as folder:
            env = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder), "PATH": PATH}
            env["SIDECAR_DOCKER_STRICT"] = "true"
            with lives.run_life(place, *steps, more=more, **env) as running:
                job = running.job
        assert job.result == "succeeded", job.log()
        assert engine.docker("ps", "--all", "--quiet") == ""
        refused = running.life.find_events("docker.request_refused")
        assert refused == []
