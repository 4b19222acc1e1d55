"""Two hundred of the thousand lives of `make soak`, in every test run."""

import asyncio
import os
import secrets
import time

from tests.soak.many import many, report

LIVES = int(os.environ.get("SOAK_LIVES", "200"))
SEED = os.environ.get("SOAK_SEED", "")
BESIDE = 6


def test_whatever_goes_wrong_everything_is_given_back_or_named(aws, record_property):
    """After each life SSM holds no token and GitHub no runner, or the log names why not."""
    seed, begun = SEED or secrets.token_hex(4), time.monotonic()
    verdicts = asyncio.run(many(aws, [f"{seed}-{i}" for i in range(LIVES)], BESIDE, id))
    told = report(verdicts, begun)
    record_property(f"soak, seed {seed}", told)
    assert not [verdict for verdict in verdicts if verdict.wrong], told
