"""What each event means, in the words of somebody who reads the log."""

EVENTS = {
    "docker.copy_started": "the runner's node is copied to where the docker daemon finds it; once for "
    "each version on a machine",
    "docker.socket_exposed": "a container mounts a folder that holds a docker socket: by that it reaches "
    "the daemon past the agent. Told once of each folder",
    "docker.request_failed": "the docker proxy could not go on with a request, and closed its connection",
    "docker.socket_unprotected": "the runner's user may use the docker daemon's own socket, past the agent",
    "docker.proxy_started": "jobs reach the docker daemon (`engine`) at `socket`, which gives containers"
    " their credentials by the way that `credentials` names",
    "docker.request_refused": "strict mode refused something; told once of each kind",
    "docker.folder_removed": "a life that was killed had left this folder in SIDECAR_SHARED_DIR",
    "docker.folder_removal_failed": "what a killed life left in SIDECAR_SHARED_DIR could not be removed",
    "docker.accept_failed": "the system gave no connection to the docker proxy; it is tried again",
    "docker.proxy_disabled": "jobs reach the docker daemon itself, and why",
    "docker.events_lost": "the docker daemon does not tell what happens; it is asked again",
    "runner.lookup_failed": "GitHub could not be asked whether it still knows the runner",
    "health.started": "`/healthz`, `/readyz` and `/metrics` answer from here on",
    "command.ended": "the command that is supervised ended, with its own exit code; negative: the "
    "signal that killed it",
    "command.signalled": "a stop was handed on: to the actions runner's listener alone where the "
    "command runs one, else to all of the command's process group",
    "command.started": "the command that is supervised runs; nothing is registered for it",
    "credential.shared": "a secret of the agent's that a job could read with the task role, too",
    "http.request_failed": "a local listener could not answer a request; the traceback says why",
    "job.announced": "the runner says that it got a job; the name is text from outside",
    "job.completed": "the job's last hook ran",
    "job.role_shared": "jobs have the task role; `can_read` names secrets of the agent among it",
    "job.reported": "the runner says how the job ended",
    "job.started": "the job's first hook ran",
    "launcher.recognised": "a launcher's variables are read, or its command supervised; `unheeded`"
    " is what it asks for and the agent does otherwise",
    "life.crashed": "a mistake in the agent; the traceback is in `exception`",
    "life.ended": "the last event of every life: `outcome`, `exit_code`, `meaning`, `error`, "
    "`life_seconds`, `phase_seconds`, `undone`, `left_behind`, and metrics if a namespace is set",
    "life.failed": "the one error that ended the life",
    "life.started": "settings are read, nothing is contacted yet",
    "life.stopped": "a stop came before the runner was registered",
    "memory.exhausted": "the kernel killed so many processes of this container, for it had no "
    "memory left; the agent lives on, the job most likely failed",
    "network.leftovers_removed": "an agent was killed here, and what it left in the network is gone; "
    "`failures` names tools that could not be asked",
    "network.ipv6_unprotected": "the instance's metadata can be had by IPv6: no rule could be put up",
    "network.relay_unreachable": "a container has nothing but an internal network, whose engine gives it"
    " no way to the relay; told once of each network, see the troubleshooting page",
    "network.rules_added": "whoever asks the ECS agent or the instance, but the agent itself, "
    "reaches the relay `to`; with `outside`, also whatever comes in by other interfaces than those",
    "network.rules_removed": "the rules for that are gone",
    "network.removal_failed": "rules that could not be put up could not be removed "
    "either: there are none",
    "network.rules_skipped": "there are no such rules, and why; jobs are told the relay's address",
    "phase.entered": "the life goes on to its next phase; `seconds` is how long the last took",
    "killed_agent.found": "an agent was killed on this disk; the runner it left is taken away first",
    "process.killed": "something was still running at the end of a program, and was killed",
    "relay.refreshed": "newer credentials are held",
    "relay.refresh_failed": "newer credentials could not be had; what is held is still served",
    "relay.answered": "a peer got credentials: the first time of each version, then once a minute;"
    " `decision` is the ground, `repeats` how often since, `unsaid` what had no line of its own",
    "relay.path_revoked": "a container's own path is dead, with the container",
    "relay.path_misused": "a container's path was first used by another peer, which is shut out now",
    "relay.refused": "the relay turned somebody away; the first time of each kind, then once a "
    "minute, `repeats` and `unsaid` as in `relay.answered`",
    "relay.verification_failed": "the engine could not be asked for a container's addresses; whoever used "
    "its path first keeps it",
    "relay.started": "the relay listens; `upstream` is where the credentials come from",
    "relay.credentials_fetched": "the relay holds its first credentials",
    "relay.credentials_delayed": "the relay has no credentials yet; jobs run, and containers get 503 meanwhile",
    "relay.mode_chosen": "by which way jobs and their containers come to credentials, and why",
    "relay.disabled": "no credentials are relayed",
    "relay.failed": "the relay could not be set up; jobs run without it",
    "retry.scheduled": "something failed that may pass, and is tried again",
    "runner.outdated": "the runner's program is older than 25 days; GitHub may refuse it soon",
    "runner.configuration_removed": "a predecessor's configuration was found and removed",
    "runner.connection_changed": "the runner lost or found its connection to GitHub",
    "runner.deregistered": "the runner is gone from GitHub; `rung` says by whose hand",
    "runner.diagnostics_read": "what the program wrote last into `_diag` when `verb` failed; masked",
    "runner.ended": "the listener ended; `outcome` names its exit code",
    "runner.configure_awaited": "a stop came while configuring; it may finish for half the "
    "budget, then it is undone",
    "runner.interrupted": "the listener was asked to end",
    "runner.killed": "the listener did not end in time and is killed with all it started",
    "listener.printed": "one line that the listener printed, control characters escaped",
    "runner.name_taken": "another runner has the name; it is tried with a suffix. `ours`: it may be"
    " this life's own, whose registration was cut; GitHub then removes it after one day",
    "runner.registered": "GitHub knows the runner",
    "configure.printed": "one line that configure or remove printed",
    "runner.started": "the listener runs",
    "runner.state_write_failed": "the note for an agent that comes after a kill could not be written",
    "runner.setup_info_failed": "`.setup_info` could not be written; jobs show less, and run",
    "runner.removal_unverified": "GitHub could not be asked whether the runner is gone; that is assumed",
    "settings.ignored": "a `SIDECAR_*` variable that is no setting",
    "spot.lookup_failed": "the instance could not be asked for a Spot notice",
    "stop.requested": "the drain begins",
    "stop.job_awaited": "a job runs and may go on for so many seconds",
    "task.protected": "scale-in protection is on, or was renewed",
    "task.metadata_failed": "the ECS metadata endpoint did not answer; only the name is less telling",
    "task.protection_failed": "the ECS agent did not protect the task; `reason` is what it said",
    "task.protection_removed": "scale-in protection is off again",
    "token.already_deleted": "there was no token parameter left to delete; `unread` as in `token.deleted`",
    "token.awaited": "the token parameter is not there yet; it is polled for so many seconds"
    ", quietly",
    "token.read": "the token was read",
    "token.deleted": "the token parameter is gone. `unread`: nobody saw what it held; the runner of"
    " a just-in-time configuration then stays until GitHub's one-day clean-up",
    "token.kept": "the parameter is not the one that was read, and stays",
    "token.minted": "GitHub gave a registration token for the App or the PAT",
    "cleanup.failed": "something could not be undone; `reason` says why",
    "watch.triggered": "a limit, a ghost or a Spot notice ends the life; `cause` says which",
    "watch.failed": "a watch could not go on; the life does, without it",
}
