"""Queue, table, pools and settings of a launcher that serves queued jobs."""

import pytest

from local import aws as local_aws
from tests.unit.launcher.demand.deliveries import SECRET

POOLS = """
[[pool]]
name = "small"
labels = ["small"]
task_definition = "runner"
"""


@pytest.fixture
def launcher_environment(aws, tmp_path):
    """Make queue and table; return the variables of webhook and worker."""
    pools = tmp_path / "pools.toml"
    pools.write_text(POOLS)
    return {
        "AWS_ACCESS_KEY_ID": "AKIALOCAL",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL": aws,
        "LAUNCHER_QUEUE_URL": local_aws.make_queues(aws, "demand").main,
        "LAUNCHER_TABLE": local_aws.make_table(aws),
        "LAUNCHER_POOLS": str(pools),
        "LAUNCHER_GITHUB_URL": "http://127.0.0.1:9",
        "LAUNCHER_GITHUB_PAT": "ghp_canary_canary_canary",
        "LAUNCHER_WEBHOOK_SECRETS": SECRET,
    }
