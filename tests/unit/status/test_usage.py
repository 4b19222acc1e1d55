"""What a job used of its task, and which smaller task would have done."""

from dataclasses import replace

import pytest

from sidecar.aws.task_stats import Sample, Size
from sidecar.status.usage import JobUsage

FIRST = Sample(100.0, 500.0, 900.0, 1000, 1000, 0, 0)
SIZE = Size(2.0, 8192.0, "FARGATE", 300.0, 20496.0)


def make(*samples, size=SIZE):
    """Return the usage of these samples, ten seconds apart."""
    usage = JobUsage(size)
    for number, sample in enumerate(samples):
        usage.add(sample, 10.0 * number)
    return usage


def test_the_difference_between_first_and_last_counts():
    """What the task used before the job is not the job's."""
    middle = replace(FIRST, cpu_seconds=105.0, memory=1500.0)
    last = Sample(106.0, 700.0, 900.0, 3000, 1500, 2048, 4096)
    usage = make(FIRST, middle, last)
    assert usage.collect_facts({"deploy": 3}) == {
        "job_cpu_seconds": 6.0,
        "job_cpu_peak": 0.5,
        "job_memory_peak_mib": 1500,
        "job_network_bytes": 2500,
        "job_disk_bytes": 6144,
        "credentials_served": {"deploy": 3},
        "task_cpu": 2.0,
        "task_memory_mib": 8192.0,
        "task_disk_used_mib": 300.0,
        "smaller_task": {"cpu": 512, "memory": 2048},
    }
    assert usage.seconds == 20.0


def test_the_summary_is_a_table():
    """Used, beside what the task has; the smaller size in one sentence. No ARN is in it."""
    last = Sample(160.0, 700.0, 1800.0, 1000 + 5 * 1024 * 1024, 1500, 2048, 0)
    text = make(FIRST, last).write_summary({"": 2})
    assert text == (
        "### What this job used\n\n| | used | task |\n|---|---|---|\n"
        "| CPU | 60.0 s, 6.00 vCPU at most | 2 vCPU |\n"
        "| memory | 1,800 MiB at most | 8,192 MiB |\n"
        "| disk | 2.0 KiB read, 0 B written | 300 of 20,496 MiB in use |\n"
        "| network | 5.0 MiB received, 500 B sent | |\n"
        "| credentials | task: 2 | |\n"
    )
    text = make(FIRST, replace(FIRST, cpu_seconds=101.0)).write_summary({})
    assert text.endswith("| credentials | none | |\n\n0.25 vCPU and 1,024 MiB would have done.\n")


def test_without_a_sample_nothing_is_said():
    """Neither in the event nor in the summary."""
    usage = JobUsage()
    assert usage.collect_facts({"a": 1}) == {}
    assert usage.write_summary({"a": 1}) == ""


@pytest.mark.parametrize(
    ("cpu", "memory", "size", "smaller"),
    [
        (0.2, 300.0, SIZE, (256, 512)),
        (0.3, 300.0, SIZE, (512, 1024)),
        (0.2, 1900.0, SIZE, (512, 3072)),
        (1.9, 6600.0, SIZE, None),
        (1.9, 3000.0, SIZE, (2048, 4096)),
        (2.5, 300.0, SIZE, None),
        (0.2, 300.0, replace(SIZE, launch_type="EC2"), None),
        (0.2, 300.0, replace(SIZE, cpu=None), None),
        (0.2, 300.0, replace(SIZE, cpu=0.25, memory=512.0), None),
        (99.0, 1e9, SIZE, None),
        (0.2, 300.0, None, None),
    ],
)
def test_a_smaller_size_has_room_for_the_peaks(cpu, memory, size, smaller):
    """A quarter more memory than the peak; only sizes that Fargate has."""
    used = replace(FIRST, cpu_seconds=100.0 + 10 * cpu, memory=memory)
    low = replace(FIRST, memory=0.0, memory_peak=0.0)
    assert make(low, replace(used, memory_peak=0.0), size=size).find_smaller() == smaller


def test_samples_that_follow_each_other_at_once_make_no_peak():
    """One of them is dated some milliseconds late; a short job has nothing else, though."""
    usage = JobUsage(SIZE)
    usage.add(FIRST, 0.0)
    usage.add(replace(FIRST, cpu_seconds=100.05), 0.1)
    assert usage.cpu_peak == pytest.approx(0.5)
    usage.add(replace(FIRST, cpu_seconds=102.0), 10.0)
    assert usage.cpu_peak == pytest.approx(0.2)
    usage.add(replace(FIRST, cpu_seconds=102.01), 10.001)
    assert usage.cpu_peak == pytest.approx(0.2)
    usage.add(replace(FIRST, cpu_seconds=103.2), 12.0)
    assert usage.cpu_peak == pytest.approx(0.6)


def test_one_sample_alone_names_no_smaller_size():
    """It says nothing of the processors that the job kept busy."""
    usage = JobUsage(SIZE)
    usage.add(FIRST, 1.0)
    assert usage.find_smaller() is None


def test_the_kernel_s_peak_counts_if_it_grew():
    """It finds what no sample saw; an older one is not the job's."""
    assert make(FIRST, FIRST).memory_peak == 500.0
    assert make(FIRST, replace(FIRST, memory_peak=1300.0)).memory_peak == 1300.0
