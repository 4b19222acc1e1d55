"""Where pools are kept: read live, and an unreadable document changes nothing."""

import asyncio
from contextlib import closing

import boto3
import pytest
from structlog.testing import capture_logs

from launcher.errors import LaunchError
from launcher.pools import families
from launcher.pools.document import Problems
from launcher.pools.families import FamilySource, make_name, make_pool
from launcher.pools.source import EVERY, FileSource, LivePools, ParameterSource
from local import aws as local_aws
from sidecar.aws.calls import NotFound

POOL = '[[pool]]\nname = "{}"\nlabels = ["{}"]\ntask_definition = "runner"\n'


class Clock:
    """A clock that a test moves."""

    time = 0.0

    def __call__(self):
        """Return the time."""
        return self.time


def run(coroutine):
    """Run a test's coroutine, for 30 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 30))


@pytest.fixture
def keys(aws, monkeypatch):
    """Set credentials and the endpoint; return it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    return aws


def test_a_file_is_read_again_every_minute(tmp_path):
    """A mistake keeps the old pools and is said once; so is its end."""
    path = tmp_path / "pools.toml"

    async def life():
        clock = Clock()
        pools = LivePools(FileSource(str(path)), clock)
        path.write_text(POOL.format("one", "one"))
        await pools.load()
        seen = []

        async def look(seconds, text):
            clock.time += seconds
            path.write_text(text)
            await pools.refresh()
            seen.append([pool.name for pool in pools()])

        await look(1, POOL.format("two", "two"))
        await look(EVERY, POOL.format("two", "two"))
        await look(EVERY, "[[pool]]\nname = 3")
        await look(EVERY, "[[pool]]\nname = 3")
        await look(EVERY, POOL.format("two", "two"))
        await look(EVERY, "[[pool]]\nname = 3")
        path.unlink()
        clock.time += EVERY
        await pools.refresh()
        return seen

    with capture_logs() as events:
        assert run(life()) == [["one"], *[["two"]] * 5]
    assert [each["event"] for each in events] == [
        "pools.read",
        "pools.read",
        "pools.kept",
        "pools.kept",
        "pools.kept",
    ]
    assert "pool 1: name: must be text, not 3" in events[2]["reason"]
    assert "No such file" in events[4]["reason"]


def test_the_first_document_has_to_be_right(tmp_path):
    """Each mistake is a line of the error."""
    path = tmp_path / "pools.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(LaunchError, match=r"it is not UTF-8 \(LAUNCHER_POOLS\)"):
        run(LivePools(FileSource(str(path))).load())
    path.write_text("[[pool]]\nname = 3")
    with pytest.raises(LaunchError, match="labels: is required") as wrong:
        run(LivePools(FileSource(str(path))).load())
    assert len(str(wrong.value).splitlines()) == 3


def test_several_parameters_make_one_document(keys):
    """One holds 4 KB, or 8."""
    local_aws.put(keys, "/pools/1", POOL.format("one", "one"), "String")
    local_aws.put(keys, "/pools/2", POOL.format("two", "two"))

    async def read(*names):
        async with ParameterSource(list(names), local_aws.REGION) as source:
            return await source.read()

    assert [pool.name for pool in run(read("/pools/1", "/pools/2"))] == ["one", "two"]
    with pytest.raises(NotFound, match=r"no such parameter \(LAUNCHER_POOLS\)"):
        run(read("/pools/3"))


def test_a_parameter_that_is_gone_keeps_the_pools(keys):
    """AWS may be away too."""
    local_aws.put(keys, "/pools", POOL.format("one", "one"))

    async def life():
        clock = Clock()
        async with ParameterSource(["/pools"], local_aws.REGION) as source:
            pools = LivePools(source, clock)
            await pools.load()
            with closing(boto3.client("ssm")) as ssm:
                ssm.delete_parameter(Name="/pools")
            clock.time += EVERY
            await pools.refresh()
            return [pool.name for pool in pools()]

    with capture_logs() as events:
        assert run(life()) == ["one"]
    assert [each["event"] for each in events] == ["pools.read", "pools.kept"]


# ---- task definitions ----------------------------------------------------------------------------


def register(family, labels, **more):
    """Register a revision of a task definition."""
    with closing(boto3.client("ecs")) as ecs:
        container = {"name": "runner", "image": "runner", "cpu": 256, "memory": 512}
        tags = [{"key": "GH:labels", "value": labels}] if labels is not None else []
        ecs.register_task_definition(
            family=family, containerDefinitions=[container], tags=tags, **more
        )


def read_families(prefix="gh-", **common):
    """Return what the families of a prefix make."""

    async def read():
        async with FamilySource(prefix, common, local_aws.REGION) as source:
            return await source.read()

    return run(read())


def test_each_family_s_newest_revision_is_a_pool(keys):
    """By its tag; others of the prefix, and other families, are none."""
    register("gh-small", "self-hosted old")
    register("gh-small", "self-hosted linux small  fast")
    register("gh-arm", "big", runtimePlatform={"cpuArchitecture": "ARM64"})
    register("gh-none", None)
    register("other", "other")
    pools = read_families(cluster="runners", capacities=["spot"])
    found = {pool.name: pool for pool in pools}
    assert sorted(found) == ["gh-arm", "gh-small"]
    assert found["gh-small"].offer.labels == {"small", "fast"}
    assert found["gh-small"].task_definition == "gh-small"
    assert (found["gh-arm"].offer.architecture, found["gh-arm"].offer.system) == ("arm64", "linux")
    assert (found["gh-arm"].cluster, found["gh-arm"].capacities) == ("runners", ("spot",))
    assert found["gh-arm"].maximum == families.MAXIMUM


def test_a_prefix_without_pools_is_a_mistake(keys):
    """And so is a label that no runner can have."""
    register("gh-none", None)
    (line,) = read_families().lines
    assert "no task definition of a family gh-* has the tag GH:labels (LAUNCHER_POOLS)" in line
    register("gh-wrong", "run-*")
    assert isinstance(read_families(), Problems)


def test_a_family_s_name_becomes_a_pool_s_name():
    """Two families never become one pool."""
    assert make_name("gh-small") == "gh-small"
    names = [make_name(each) for each in ("GH_small", "gh_small", "x" * 99, "x" * 98, "__")]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 40 for name in names)
    windows = {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}
    definition = {"family": "win", "runtimePlatform": windows}
    assert make_pool(definition, {"GH:labels": "a"}, {})["os"] == "windows"
