"""The meaning of each event, for somebody who reads the log while something is broken."""

EVENTS = {
    "aws.configuration_refused": "a file of AWS settings is not read: the agent is root, and "
    "others than root can change the file or a folder above it, so a job may have written it",
    "cleanup.failed": "a cleanup step was not done; `undo` names the step, `reason` says why",
    "command.ended": "the supervised command ended, with its own exit code; a negative number is "
    "the signal that killed it",
    "command.signal_failed": "the stop signal could not be sent on (Windows: the command has no "
    "console); the command goes on until the stop budget ends, and is killed then",
    "command.signalled": "the stop signal was sent on: only to the listener of the actions runner "
    "if the command runs one, else to the whole process group of the command",
    "command.started": "the supervised command runs; nothing is registered for it",
    "configure.printed": "one line that the runner's configure or remove step printed",
    "container.role_chosen": "a container is created, and SIDECAR_ROLES has rules for containers: "
    "which one is for it, and the role; without `rule` it has its job's; `refused` if it gets no "
    "credentials, `reason` says why",
    "credential.shared": "jobs can read this secret too, because they have the same task role",
    "credential.unquoted": "the secret has quotes around it, which are left out; store it without",
    "docker.accept_failed": "the system refused a new connection to the docker proxy; the proxy "
    "tries again",
    "docker.commit_unclean": "an image that a job committed could not be made anew: it has empty "
    "variables, and the region, that the agent had added to the container; or the one that was "
    "made first could not be removed",
    "docker.copy_started": "the runner's node is copied to a folder that the docker daemon sees; "
    "once for each version on a machine",
    "docker.events_lost": "the connection to the docker daemon's events broke; it is opened again",
    "docker.folder_removal_failed": "a folder that a killed agent left in SIDECAR_SHARED_DIR could "
    "not be removed",
    "docker.folder_removed": "a folder that a killed agent left in SIDECAR_SHARED_DIR was removed",
    "docker.folder_unchecked": "the agent cannot write into a folder, and so not ask whether the "
    "docker daemon sees it",
    "docker.folder_unseen": "the docker daemon does not see a folder that containers of a job "
    "mount: it is empty for them",
    "docker.leftovers_failed": "what the job of a killed agent created could not be removed; a "
    "later agent tries again",
    "docker.objects_kept": "SIDECAR_DOCKER_CLEANUP is off: these containers, networks, volumes and "
    "images of the job stay at the docker daemon",
    "docker.objects_removed": "how many containers, networks, volumes and images of the job were "
    "removed from the docker daemon; with `killed_agent` those that the job of a killed agent left",
    "docker.proxy_disabled": "jobs reach the docker daemon without the proxy; `reason` says why. A "
    "warning if SIDECAR_SHARED_DIR cannot be right",
    "docker.proxy_started": "jobs reach the docker daemon (`engine`) through the proxy at `socket`;"
    " `credentials` is the relay mode that containers use",
    "docker.record_failed": "what a job creates at the docker daemon cannot be written down: it is "
    "removed after the job, but not if the agent is killed",
    "docker.registries_added": "jobs pull private images of these registries of ECR with their own "
    "role; docker's clients have their configuration in `folder`, which goes with the life",
    "docker.registries_skipped": "jobs have no login to ECR by themselves; `reason` says why. A "
    "warning if SIDECAR_ECR_REGISTRIES names some",
    "docker.request_failed": "the docker proxy failed on a request and closed its connection",
    "docker.request_refused": "strict mode refused a request, or the agent refused a network or a "
    "port at AWS's link-local addresses; each text once while it is remembered, and 16 of a kind "
    "in a minute. `unsaid` counts those that no line tells of",
    "docker.socket_exposed": "a container mounts a folder that holds a docker socket, and can "
    "reach the daemon without the proxy; logged once for each folder",
    "docker.socket_unprotected": "the runner's user may open the daemon's own socket, without the "
    "proxy",
    "github.redirect_unresolved": "GitHub did not tell the new URL of a repository; the runner is "
    "registered at the old one",
    "github.redirected": "GitHub has the repository or its owner under a new name and redirects "
    "`path`; it is followed, and the URL that is set should be changed",
    "health.moved": "another program listens at SIDECAR_HEALTH_ADDRESS, as the agent of a second "
    "task with network mode host does: health and metrics are at `address`, where "
    "`runner-sidecar health` finds them",
    "health.started": "`/healthz`, `/readyz` and `/metrics` answer from now on",
    "http.request_failed": "a local HTTP server could not answer a request; see the traceback",
    "job.admitted": "the job may run, by the pool's policy if there is one; it is described as the "
    "runner knows it",
    "job.announced": "the runner says that it got a job; the name comes from outside",
    "job.completed": "the job's completed hook ran",
    "job.refused": "the pool's policy does not admit the job, its role is required and could "
    "not be had, or who it is could not be read; it is failed before any step, and `reason` says "
    "why",
    "job.reported": "the runner prints how the job ended, which GitHub may see differently. "
    "`conclusion`: what GitHub has, where that is known to differ: a job that a stop interrupts is "
    "printed as Canceled, and is failed at GitHub. A job whose runner is removed from GitHub while "
    "it runs is printed as Canceled, whatever GitHub has",
    "job.role_shared": "jobs have the task role; `can_read` names secrets of the agent that they "
    "can read with it",
    "job.started": "the job's started hook ran",
    "job.summary_failed": "the job's summary could not be written; the job is not concerned",
    "job.usage_unknown": "the ECS agent does not say what the task uses",
    "killed_agent.found": "an agent was killed on this disk; the runner that it registered is "
    "removed first",
    "killed_agent.set_aside": "that runner could not be removed by its own program; its "
    "configuration was taken out of the folder, and the saved copies are used to remove it later",
    "killed_agent.set_aside_failed": "its configuration could not be taken out of the folder",
    "launcher.configured": "what terraform-aws-github-runner's configuration in SSM says: which "
    "`parameter` holds the token; `unheeded` lists what it asks for and the agent does differently",
    "launcher.recognised": "the variables of an existing launcher are read, or its command is "
    "supervised; `unheeded` lists what the launcher asks for and the agent does differently",
    "life.crashed": "a mistake in the agent itself; the traceback is in `exception`",
    "life.ended": "the last event of every life: `outcome`, `exit_code`, `meaning`, `error`, "
    "`life_seconds`, `phase_seconds`, `undone`, `left_behind`, and metrics if a namespace is set",
    "life.failed": "the one error that ended the life",
    "life.started": "the settings are read; nothing was contacted yet but a machine's metadata",
    "life.stopped": "a stop came before the runner was registered",
    "listener.output_left_out": "so many lines of the listener's output are not in the log",
    "listener.output_limited": "the listener prints more than the log takes for long "
    "(`bytes_a_second`): what is beyond that is read, but not logged. Said once",
    "listener.printed": "one line that the listener printed; control characters are escaped",
    "machine.recognised": "the agent runs on a machine of EC2, and this is what its metadata say; "
    "of its tags only the keys",
    "memory.exhausted": "the kernel killed processes of this container because its memory was "
    "full; the agent goes on, the job most likely failed",
    "network.ipv6_unprotected": "containers can reach the instance's metadata by IPv6, because no "
    "rule could be added",
    "network.leftovers_removed": "network rules of a killed agent were removed; `failures` names "
    "tools that could not be asked",
    "network.relay_unreachable": "a container has only internal networks, and docker gives these "
    "no route to the relay; logged once for each network",
    "network.removal_failed": "removing rules that were only partly added failed too: there are "
    "none",
    "network.route_changed": "a network stands in the way to the ECS agent or the instance's "
    "metadata at `address`, perhaps one that a job made; the agent's own requests keep to the "
    "interface by which they went before the job, and may get no answer",
    "network.rules_added": "requests to the ECS agent and to the instance's metadata go to the "
    "relay (`to`), except the agent's own; with `outside`, requests that come in by other "
    "interfaces than those go there too",
    "network.rules_removed": "these rules are gone",
    "network.rules_skipped": "no such rules were added, and why; jobs get the relay's address "
    "in a variable",
    "phase.entered": "the life enters its next phase; `seconds` is how long the last phase took",
    "process.kill_limited": "the runner's processes cannot be killed all at once, because some may "
    "be somebody else's; `reason` says why. Only those are killed that a list of processes shows: "
    "one that forks all the time is never in it",
    "process.killed": "a program ended and left processes; they were killed",
    "process.leftovers_killed": "an agent was killed here and left processes of the runner's "
    "user, which were killed before anything else was done; `left` of them did not end in time",
    "relay.answered": "a peer got credentials: logged once for each version, then once a minute; "
    "`decision` is the reason, `repeats` counts answers since, `unsaid` counts requests without "
    "an event of their own",
    "relay.credentials_delayed": "the relay has no credentials yet; jobs run, and containers get "
    "503 until it has",
    "relay.credentials_fetched": "the relay has its first credentials",
    "relay.disabled": "no credentials are relayed",
    "relay.failed": "the relay could not be started; jobs run without it",
    "relay.mode_chosen": "how jobs and their containers reach credentials, and why",
    "relay.path_misused": "another peer used a container's path first; that peer is refused now",
    "relay.path_revoked": "a container ended, and its path with it",
    "relay.refresh_failed": "newer credentials could not be fetched; the present ones still serve",
    "relay.refreshed": "newer credentials were fetched",
    "relay.refused": "the relay refused a request: logged once for each kind, then once a minute; "
    "`repeats` and `unsaid` as in `relay.answered`",
    "relay.started": "the relay listens; `upstream` is where the credentials come from",
    "relay.verification_failed": "the docker daemon could not be asked for a container's "
    "addresses; the peer that used the path first keeps it",
    "retry.scheduled": "something failed that may work later; it is tried again",
    "role.assigned": "the job's own role is there, by that rule of SIDECAR_ROLES; `job_role_ms` is "
    "what the job waited for it",
    "role.assumed": "STS gave a first session for a rule; `packed_percent` is how much of the room "
    "for policy and tags it takes",
    "role.client_failed": "the client of STS could not be made ready before a job came; it is made "
    "when it is needed",
    "role.delayed": "the job's role was not there in time; the job goes on, and gets 503 until it "
    "is, unless the rule says `required`",
    "role.denied": "the job has no credentials: no rule is for it, or what a rule needs is missing",
    "role.nearly_full": "policy and tags take nearly all of the room that a session has",
    "role.tags_left_out": "STS does not take these facts about the job as they are, so they are no "
    "tags; a policy that needs them denies",
    "runner.configuration_removed": "what an earlier life left was removed, because the next one "
    "would obey it or could not start: the configuration of a killed agent's runner, `.env`, "
    "`.path` and `.service` of a job, and what a job put in the place of `_diag` or of the work "
    "folder; `stale` names them",
    "runner.configure_awaited": "a stop came during configure; it may finish for half of the stop "
    "budget, then the registration is removed",
    "runner.connection_changed": "the runner lost its connection to GitHub, `reason` says why, or "
    "has it again. Only a session, or a job, shows that it has it again",
    "runner.deregistered": "the runner is gone from GitHub; `rung` says in which way",
    "runner.diagnostics_read": "the last lines that the program wrote to `_diag` when `verb` "
    "failed; secrets are masked",
    "runner.ended": "the listener ended; `outcome` says how, and `meaning` in words. "
    "`deregistered`: it was removed from GitHub before it had a job; `job-withdrawn`: GitHub took "
    "its job back before that began, so no job ran; `no-session`: SIDECAR_SESSION_LIMIT",
    "runner.home_left": "the home of one call of configure or remove could not be deleted; there "
    "is no secret in it",
    "runner.interrupt_failed": "the listener could not be asked to end (Windows: it has no console "
    "to be called on). Without a job it is killed, with all that it started, once GitHub has been "
    "asked to deregister it; with `busy` the job goes on until the stop budget ends",
    "runner.interrupted": "the listener was asked to end, and with `busy` its worker too: always() "
    "steps, post steps and the completed hook are skipped, and GitHub shows the job as failed",
    "runner.killed": "the listener did not end in time; it is killed with all that it started",
    "runner.lookup_failed": "GitHub could not be asked whether it still knows the runner",
    "runner.memory_exposed": "the kernel lets a job look into the runner's own processes, which "
    "have the runner's key; `advice` names the setting of the machine",
    "runner.name_taken": "another runner has the name; the agent tries again with a suffix. With "
    "`ours` that runner may be this life's own, whose registration was cut off; GitHub removes it "
    "after one day",
    "runner.outdated": "the runner's program is older than 25 days; GitHub may refuse it soon",
    "runner.program_provided": "how the private folder for a call with the registration token got "
    "the runner's program: found there, linked, or copied",
    "runner.registered": "GitHub knows the runner",
    "runner.removal_unverified": "GitHub could not be asked whether the runner is gone; the agent "
    "removes it as if it were not",
    "runner.restore_failed": "`.env` or `.path` (`file`), which the job changed, could not be put "
    "back; as root, the next life does not believe it",
    "runner.setup_info_failed": "`.setup_info` could not be written; jobs show less, and run",
    "runner.started": "the listener runs",
    "runner.state_write_failed": "the state file could not be written; if this agent is killed, "
    "the next one cannot remove its runner",
    "runner.update_flag_refused": "the GitHub server does not know `--disableupdate`; the runner "
    "is registered without it, once. SIDECAR_DISABLE_UPDATE=false saves the first try",
    "settings.ignored": "a `SIDECAR_*` variable that is not a setting, or what is not read "
    "of a value",
    "spot.lookup_failed": "the instance could not be asked for a Spot notice, or for a rebalance "
    "recommendation",
    "stop.job_awaited": "a job runs, and may go on for so many seconds; then it is interrupted, "
    "and GitHub shows it as failed",
    "stop.requested": "a stop was requested; the drain begins",
    "task.metadata_failed": "the ECS metadata endpoint did not answer; the runner's name says less",
    "task.protected": "scale-in protection was set or renewed",
    "task.protection_failed": "the ECS agent did not protect the task; `reason` is its answer",
    "task.protection_removed": "scale-in protection was removed",
    "token.already_deleted": "there was no token parameter to delete; `unread` as in "
    "`token.deleted`",
    "token.awaited": "the token parameter is not there yet; the agent polls for so many seconds",
    "token.deleted": "the token parameter was deleted. `unread`: the agent never read it; if it "
    "held a just-in-time configuration, its runner stays until GitHub's one-day clean-up",
    "token.kept": "the parameter stays: it is not the one that was read any more, or the launcher "
    "deletes it with others",
    "token.minted": "GitHub gave a registration token for the App or the access token",
    "token.never_allowed": "the parameter of the task's own id could not be deleted, and was never "
    "read: no policy allows it while it does not exist",
    "token.read": "the token was read from its parameter",
    "token.unquoted": "the token's text (`where`) has quotes around it, which are left out",
    "trust.file_refused": "a file of certificates that a variable names cannot be read, and adds "
    "nothing to what the agent trusts; `setting` names the variable",
    "watch.failed": "a watch stopped with an error; the life goes on without it",
    "watch.triggered": "a watch ends the life; `reason` says which: idle limit, lifetime limit, "
    "session limit, deregistered runner (`ghost`, or with a job `job-lost`), Spot notice or "
    "rebalance recommendation, which ends only an idle runner",
}
