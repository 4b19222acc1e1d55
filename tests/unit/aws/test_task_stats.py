"""What the task uses, read from the ECS agent's statistics, which are docker's."""

import asyncio

import pytest

from local import ecs_agent
from sidecar.aws.task_stats import Sample, StatsError, parse_sample, read_sample, read_size

MIB = 1 << 20


def container(**more):
    """Return the statistics of one container."""
    return {
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {"usage": 300 * MIB, "stats": {"inactive_file": 100 * MIB}},
        "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "read", "value": 5},
                {"op": "Write", "value": 7},
                {"op": "Total", "value": 12},
            ]
        },
        **more,
    }


def test_containers_are_added_up():
    """One that has not started has none; files that the kernel may forget are no memory."""
    peak = {"memory_stats": {"usage": 50 * MIB, "max_usage": 900 * MIB, "stats": {}}}
    found = parse_sample({"a": container(), "b": container(**peak), "c": None})
    assert found == Sample(5.0, 250.0, 1100.0, 22, 40, 10, 14)


@pytest.mark.parametrize(
    "odd",
    [
        {"cpu_stats": None, "memory_stats": [], "networks": 1, "blkio_stats": {}},
        {"cpu_stats": {"cpu_usage": {"total_usage": "x"}}, "memory_stats": {"usage": True}},
        {"blkio_stats": {"io_service_bytes_recursive": None}, "networks": {"eth0": None}},
        {"blkio_stats": {"io_service_bytes_recursive": [None, {"op": None, "value": None}]}},
    ],
)
def test_what_is_missing_counts_nothing(odd):
    """An engine need not say everything; Windows says less."""
    assert parse_sample({"a": container(**odd)}).cpu_seconds in (0.0, 2.5)


def test_windows_counts_in_units_of_its_own():
    """Processor time in hundreds of nanoseconds, memory and disks under other names."""
    found = parse_sample(
        {
            "a": {
                "cpu_stats": {"cpu_usage": {"total_usage": 25_000_000}},
                "memory_stats": {"commitbytes": 900 * MIB, "privateworkingset": 200 * MIB},
                "storage_stats": {"read_size_bytes": 5, "write_size_bytes": 7},
                "blkio_stats": {"io_service_bytes_recursive": None},
            }
        }
    )
    assert found == Sample(2.5, 200.0, 200.0, 0, 0, 5, 7)


def test_no_container_is_no_sample():
    """The agent has just begun."""
    with pytest.raises(StatsError, match="no container has statistics"):
        parse_sample({"a": None})


def test_both_are_read_from_the_ecs_agent():
    """As the real one answers; Fargate also says the disk."""

    async def work():
        async with ecs_agent.serving(task=ecs_agent.Task(launch_type="FARGATE")) as agent:
            uri = agent.environment["ECS_CONTAINER_METADATA_URI_V4"]
            return await read_size(uri, so_mark=False), await read_sample(uri, so_mark=False)

    size, sample = asyncio.run(work())
    assert (size.cpu, size.memory, size.launch_type) == (1.0, 2048.0, "FARGATE")
    assert (size.disk_used, size.disk) == (261.0, 20496.0)
    assert (sample.memory, sample.memory_peak) == (600.0, 900.0)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/v4/x", "not a url"])
def test_nobody_there_is_an_error_of_one_kind(uri):
    """The caller goes on without."""
    with pytest.raises(StatsError, match="the ECS agent does not say it: "):
        asyncio.run(read_sample(uri, so_mark=False))
