"""The tests of `tests/unit` that are portable: other systems and other Pythons play them, too.

It names those that are not for Windows, each with its reason; all others are.

`tests/conftest.py` leaves them out where Python runs on Windows, under wine as on a machine of
GitHub's. `test_portable.py` holds that what is named here exists.
"""

SYSTEM = ("tests/unit/host", "tests/unit/net")
"""What differs most between systems, and Pythons: event loops, processes and files."""

SHELL = "its runner or hook is a shell script"
SOCKETS = "Windows has no Unix sockets in asyncio"
PIPES = "an engine on Windows has a named pipe in place of a socket"
FIFOS = "Windows has no FIFOs"
MODES = "Windows has no file modes; access lists are judged in unit/host/test_windows_files.py"
USERS = "Windows has no numbers of users; nobody changes the user there"
NAMESPACES = "Windows has no network namespaces, and of 127.0.0.0/8 one address"
CROWD = "under wine hundreds of clients take longer than one attempt of the relay"
CLOCK = "the clock of Python 3.11 on Windows moves every 15 ms"
COLOURS = "Windows' console needs colorama for colours, which the agent does not bring"
SIGNALS = "Windows has no signals; console events are judged in unit/host/test_windows_agent.py"
LINKS = "symbolic links are not judged under wine"
LINUX = "it is about a program or a file of Linux"
LAUNCHER = "the launcher does not run on Windows"
MOTO = "moto, the stand-in of SSM, takes minutes to start under wine; lives call SSM over the wire"
PATHS = "the expected paths are those of POSIX"

MODULES = {
    "unit/aws/test_secrets.py": MOTO,
    "unit/docker/test_connection.py": SOCKETS,
    "unit/docker/test_container_listener.py": SOCKETS,
    "unit/docker/test_engine.py": SOCKETS,
    "unit/docker/test_fuzz.py": SOCKETS,
    "unit/docker/test_internal_networks.py": SOCKETS,
    "unit/docker/test_network_listener.py": SOCKETS,
    "unit/docker/test_proxy.py": SOCKETS,
    "unit/docker/test_removal.py": SOCKETS,
    "unit/docker/test_socket_path.py": SOCKETS,
    "unit/docker/test_spliced_socket.py": SOCKETS,
    "unit/docker/test_strict_mode.py": SOCKETS,
    "unit/host/test_posix_*.py": "its other half is test_windows_*.py",
    "unit/launcher": LAUNCHER,
    "unit/lifecycle/test_job_docker.py": SOCKETS,
    "unit/relay/test_hostile.py": NAMESPACES,
    "unit/runner/test_configure.py": SHELL,
    "unit/runner/test_deregistration.py": SHELL,
    "unit/runner/test_hooks.py": SHELL,
    "unit/runner/test_homes.py": USERS,
    "unit/runner/test_killed_agent.py": SHELL,
    "unit/runner/test_listener.py": SHELL,
    "unit/runner/test_program.py": SHELL,
    "unit/runner/test_runner_service.py": SHELL,
    "unit/shutdown/test_signals.py": SIGNALS,
    "unit/runner/test_user_processes.py": USERS,
    "unit/test_process.py": SHELL,
    "unit/tokens/test_ssm.py": MOTO,
}

TESTS = {
    "unit/docker/test_binds.py::test_a_bind_of_the_engine_socket_is_replaced": PIPES,
    "unit/docker/test_binds.py::test_podman_s_mounts_are_replaced": PIPES,
    "unit/docker/test_created.py::test_a_file_of_another_user_is_not_believed": USERS,
    "unit/docker/test_created.py::test_the_file_outlives_the_process": MODES,
    "unit/docker/test_folder_copy.py::test_a_copy_is_made_once_and_stays": PATHS,
    "unit/docker/test_folder_copy.py::test_a_copy_that_fails_is_tried_again": PATHS,
    "unit/log/test_events.py::test_the_style_is_the_configured_one": COLOURS,
    "unit/relay/test_relay.py::test_a_burst_at_the_start_is_one_call_upstream": CROWD,
    "unit/runner/test_environment.py::test_another_user_gets_a_home_of_its_own": USERS,
    "unit/runner/test_folder.py::test_links_in_an_old_configuration_are_removed": LINKS,
    "unit/runner/test_folder.py::test_variables_are_removed_from_it_within_the_block": MODES,
    "unit/runner/test_job_identity.py::test_a_link_to_the_work_folder_is_the_work_folder": FIFOS,
    "unit/runner/test_job_identity.py::test_only_a_plain_file_is_read": FIFOS,
    "unit/runner/test_just_in_time.py::test_a_given_configuration_is_written": MODES,
    "unit/runner/test_just_in_time.py::test_the_configuration_is_not_logged": SHELL,
    "unit/runner/test_state_file.py::test_the_file_is_readable_by_the_agent_alone": MODES,
    "unit/runner/test_usable_folders.py::test_an_agent_that_is_not_root_looks_itself": MODES,
    "unit/settings/test_given_files.py::test_a_mounted_file_may_be_a_link": LINKS,
    "unit/settings/test_load.py::test_as_root_the_runner_gets_a_user": USERS,
    "unit/shutdown/test_cleanup.py::test_without_a_step_there_is_nothing_to_do": CLOCK,
    "unit/shutdown/test_stop.py::test_real_signals_reach_a_waiting_loop": SIGNALS,
    "unit/test_values.py::test_a_folder_that_cannot_be_read_is_refused": LINUX,
    "unit/test_values.py::test_a_shared_folder_fits_into_a_bind_mount": LINUX,
}
