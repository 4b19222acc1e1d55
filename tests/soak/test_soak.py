"""Run sixty of the thousand lives of `make soak`."""

import asyncio
import os
import secrets
import time

from tests.soak.lives import report, run_lives

LIVES = int(os.environ.get("SOAK_LIVES", "60"))
SEED = os.environ.get("SOAK_SEED", "")
BESIDE = 6


def test_everything_is_cleaned_up_or_the_log_says_why_not(aws, record_property):
    """After each life SSM holds no token and GitHub no runner, or the log has the reason."""
    seed, begun = SEED or secrets.token_hex(4), time.monotonic()
    verdicts = asyncio.run(run_lives(aws, [f"{seed}-{i}" for i in range(LIVES)], BESIDE, id))
    run_life = report(verdicts, begun)
    record_property(f"soak, seed {seed}", run_life)
    assert not [verdict for verdict in verdicts if verdict.wrong], run_life
