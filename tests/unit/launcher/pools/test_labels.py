"""GitHub's rule of matching, and which pool is chosen by it."""

import itertools
import random

import pytest

from launcher.pools.labels import (
    SYSTEM_LABELS,
    Match,
    NotOurs,
    Offer,
    Pattern,
    Unserved,
    choose,
    own_labels,
    rank,
)


def offer(*labels, system="linux", architecture="x64", patterns=(), exact=False):
    """Make what a pool offers."""
    return Offer(
        system,
        architecture,
        frozenset(labels),
        tuple(Pattern.parse(text) for text in patterns),
        exact,
    )


POOLS = {
    "large": offer("large", "docker", "gpu"),
    "small": offer("small", "docker", patterns=["run-*"]),
    "arm": offer("small", architecture="arm64"),
    "windows": offer("small", system="windows"),
    "only": offer("deploy", "prod", exact=True),
}


@pytest.mark.parametrize(
    ("asked", "pool"),
    [
        (["docker"], "small"),
        (["docker", "gpu"], "large"),
        (["self-hosted", "small"], "arm"),
        (["self-hosted", "linux", "x64", "small"], "small"),
        (["self-hosted", "ARM64"], "arm"),
        (["Self-Hosted", "Windows"], "windows"),
        (["SMALL", "Docker"], "small"),
        (["deploy", "prod"], "only"),
        (["deploy", "prod", "linux"], "only"),
        (["small", "run-17-4"], "small"),
        (["self-hosted", "run-17-4"], "small"),
    ],
)
def test_the_pool_with_the_fewest_surplus_labels_is_chosen(asked, pool):
    """Every asked label must be there, and of several pools the plainest serves the job."""
    assert choose(asked, POOLS).pool == pool


def test_a_runner_registers_exactly_what_was_asked():
    """The labels keep their case and order; one that differs in case only is kept once."""
    asked = ["self-hosted", "Small", "X64", "Run-7", "small"]
    assert choose(asked, POOLS) == Match("small", ("self-hosted", "Small", "X64", "Run-7"))


@pytest.mark.parametrize(
    "asked",
    [
        [],
        ["ubuntu-latest"],
        ["ubuntu-latest", "run-1"],
        ["run-1"],
        ["macos"],
        ["small,docker"],
    ],
)
def test_a_job_that_asks_for_nothing_of_ours_is_not_ours(asked):
    """No label at all, GitHub's own labels, and labels that only a pattern matches."""
    assert choose(asked, POOLS) == NotOurs()
    assert list(rank(asked, POOLS)) == []


@pytest.mark.parametrize(
    ("asked", "nearest", "why"),
    [
        (["docker", "gpu", "tpu"], "large", "it does not have tpu"),
        (["small", "docker", "arm64"], "arm", "it does not have docker"),
        (["gpu", "arm64"], "arm", "it does not have gpu"),
        (["gpu", "large", "docker", "arm64"], "large", "it is not arm64"),
        (["self-hosted", "macos", "gpu", "large", "docker"], "large", "it is not macos"),
        (["deploy"], "only", "it is exact, and the job does not ask for prod"),
        (["docker", "small,large"], "small", "it does not have small,large"),
    ],
)
def test_a_job_of_ours_that_nobody_serves_hears_of_the_nearest_pool(asked, nearest, why):
    """The reason names the pool and what it lacks."""
    found = choose(asked, POOLS)
    assert isinstance(found, Unserved)
    assert (found.nearest, found.reason.split(": ", 1)[1]) == (nearest, why)


def test_without_pools_a_self_hosted_job_is_ours_and_unserved():
    """Else a document without pools would look like a quiet day."""
    assert choose(["self-hosted"], {}) == Unserved("there is no pool", None)


def test_the_next_pool_follows_when_the_first_does_not_admit_the_job():
    """The order is by surplus, then as the pools stand."""
    assert [match.pool for match in rank(["docker"], POOLS)] == ["small", "large"]
    assert [match.pool for match in rank(["self-hosted", "linux"], POOLS)] == [
        "arm",
        "small",
        "large",
    ]


@pytest.mark.parametrize(
    "label", ["run-", "run-a,b", "run-a b", "run-\n", "run-\u212a", "xrun-1", "run-" + "x" * 300]
)
def test_a_pattern_stands_for_plain_characters_only(label):
    """A comma would be a second label when it is registered, and it could be another pool's."""
    assert not Pattern.parse("run-*").matches(label)


def test_a_pattern_never_stands_for_a_system_label():
    """A pool of Linux does not become one of Windows by a pattern."""
    pools = {"odd": offer("small", patterns=["win*s", "self-*"])}
    assert isinstance(choose(["small", "windows"], pools), Unserved)
    assert choose(["small", "self-hosted"], pools).pool == "odd"


@pytest.mark.parametrize("text", ["run", "*", "r*", "r*n*x", "run *", "a,b*", "-run*"])
def test_a_pattern_that_matches_too_much_or_nothing_is_refused(text):
    """One star, some characters beside it, and only plain ones."""
    with pytest.raises(ValueError, match="must"):
        Pattern.parse(text)


def test_the_system_s_labels_are_no_labels_of_a_pool():
    """Task definitions of other launchers list them among their labels."""
    assert own_labels(["Self-Hosted", "LINUX", "GPU"]) == {"gpu"}


def test_what_is_chosen_agrees_with_the_rule_itself():
    """For 2,000 seeded jobs: the choice is a subset match, and no match has less surplus."""
    chance = random.Random(13)  # noqa: S311  seeded, not secret
    names = ["a", "b", "c", "d", *sorted(SYSTEM_LABELS)]
    for _ in range(2000):
        pools = {
            str(number): offer(
                *chance.sample("abcd", chance.randrange(4)),
                system=chance.choice(["linux", "windows"]),
                architecture=chance.choice(["x64", "arm64"]),
                exact=chance.random() < 0.2,
            )
            for number in range(chance.randrange(5))
        }
        asked = chance.sample(names, chance.randrange(5))
        fits = {
            name: len(pool.labels - set(asked))
            for name, pool in pools.items()
            if asked
            and set(asked) <= pool.labels | {"self-hosted", pool.system, pool.architecture}
            and not (pool.exact and pool.labels - set(asked))
        }
        found = choose(asked, pools)
        if fits:
            assert found.pool == min(fits, key=fits.get)
        else:
            assert not isinstance(found, Match)


def test_the_order_of_what_is_asked_changes_nothing():
    """A job's labels are a set."""
    for asked in itertools.permutations(["docker", "self-hosted", "linux"]):
        assert choose(asked, POOLS).pool == "small"
