"""A fleet of jobs on a virtual clock: the launcher's own code against the limits of its peers."""

from bench import launch_fleet


def test_a_burst_of_jobs_is_served_and_nothing_is_left():
    """Two hundred jobs of two runs: each gets a runner; runs are looked up, not jobs."""
    fleet = launch_fleet.check(launch_fleet.run_fleet(200))
    assert fleet.done == 200
    assert len(fleet.placed) <= 1.05 * 200
    assert fleet.github["_get_run"] <= 4 * launch_fleet.WORKERS
