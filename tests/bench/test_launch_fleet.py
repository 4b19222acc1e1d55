"""A fleet of jobs on a virtual clock: the launcher's own code against the limits of its peers."""

from bench import launch_fleet


def test_a_burst_of_jobs_is_served_as_fast_as_runtask_permits():
    """Each gets one task, each token is deleted, and GitHub is asked about runs, not about jobs."""
    fleet = launch_fleet.check(launch_fleet.run_fleet(300, scale=0.1))
    assert fleet.done == 300
    assert len(fleet.placed) <= 1.02 * 300
    assert fleet.start_vs_limit <= 1.25
    assert fleet.github["_get_run"] <= 4
    assert fleet.calls_per_job <= 0.05
    assert fleet.refused["ssm:PutParameter"] <= 0.5 * 300


def test_a_just_in_time_fleet_starts_no_task_that_waits_for_github():
    """One call of GitHub for each job; its limit of an hour is waited for before a task begins."""
    fleet = launch_fleet.check(launch_fleet.run_fleet(120, "just-in-time", 0.02))
    assert fleet.done == len(fleet.placed) == 120
    assert fleet.calls_per_job <= 1.05
    assert fleet.refused["github"] <= 1
    assert max(fleet.placed) > 3600
