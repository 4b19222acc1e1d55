"""The meaning of each event of the launcher, for somebody who reads its log."""

EVENTS = {
    "batch.cut": "the Lambda function's time was over before `left` messages of its batch were "
    "handled; they come again",
    "batch.failed": "the Lambda function has no worker, for example because the pools cannot be "
    "read; the messages come again later",
    "cleanup.failed": "a cleanup step was not done; `undo` names the step, `reason` says why",
    "cleanup.incomplete": "`left` was not cleaned up; `requests` holds requests to start a task "
    "whose outcome is not known",
    "console.unread": "the console of a machine that has ended could not be read, so nothing is "
    "known of its agent's exit code",
    "delivery.sent_again": "GitHub sends a lost delivery of a webhook again: nobody had taken it, "
    "and its job is queued, and nobody works on it",
    "demand.expired": "a job was queued for longer than a day: GitHub does not keep it queued",
    "demand.refused": "the policy of every pool with the job's labels refuses it; it gets no "
    "runner here",
    "demand.unknown": "GitHub does not tell who asks for a runner, so no policy that needs it "
    "admits the job",
    "demand.unserved": "a job asks for labels that no pool has all of; `nearest` is the pool that "
    "has most of them",
    "job.sent_again": "the workers get a job or a launch that nobody serves: its message was "
    "lost, or never came",
    "job.unknown": "GitHub did not tell the state of a job; the launch goes on as if it were "
    "queued",
    "keys.failed": "the public keys of GitHub's OIDC tokens cannot be fetched: those of before are "
    "used for a day",
    "keys.fetched": "the public keys of GitHub's OIDC tokens are these",
    "launch.admitted": "a job that was not seen before gets a runner of `pool`",
    "launch.cleaned_up": "what a launch had started is gone",
    "launch.ended": "nothing of a launch is left",
    "launch.given_up": "nobody tries any more to start a runner for this job; `reasons` holds what "
    "went wrong before",
    "launch.kept": "a launch is not undone, because its runner has a job; both end together",
    "launch.served": "the launch's own runner has its job",
    "launch.settled": "nothing more is wanted for a launch, without a fault",
    "launch.stolen": "another job took the launch's runner; `swapped`: the two launches have "
    "changed their tasks, and nothing more has to be started",
    "lease.kept": "the lease of a launch could not be given back; it ends by itself",
    "machine.terminated": "a machine of EC2 was ended, and why",
    "message.crashed": "a mistake in the launcher itself; the message comes again, and goes to the "
    "dead letters in the end; the traceback is in `exception`",
    "message.failed": "a message could not be handled, sent or deleted now; it comes again. "
    "`count`: how often it was put off",
    "message.put_off": "a message comes again later, as a new one, and why",
    "message.refused": "a message that no worker understands; it goes to the dead letters",
    "order.abandoned": "the account of an order cannot be reached any more, and its runner has "
    "ended by the limits of its pool: the order is closed. The parameter of its token may be left "
    "in that account: `task` is the end of its name",
    "order.cut": "the Lambda function's time was over before an order was started; who asks again "
    "goes on with it",
    "order.failed": "AWS or GitHub did not answer, or refused, while an order was started, looked "
    "at or stopped",
    "order.refused": "a caller of the API asked for what is not listed for it; nothing was started",
    "order.skipped": "an event names the task of an order in another account: the worker has no "
    "role there and does nothing, only the API looks after it",
    "order.stopped": "a caller of the API has stopped what it had started",
    "order.taken": "a runner was started for a caller of the API",
    "orphan.found": "a sweep sees for the first time something that nobody seems to need; the "
    "next one decides. `kind`: token, runner, task, machine",
    "orphan.kept": "an orphan was not removed: a last look has shown that it is needed, or it "
    "cannot be removed now",
    "orphan.removed": "something that nobody needed, at two looks, is gone: a token was deleted, a "
    "runner removed, a task or machine stopped",
    "orphan.skipped": "with `--dry-run`: this would have been removed or sent again",
    "pool.resumed": "a pool that was stopped has a runner with a job again",
    "pool.stopped": "the last tasks of a pool all failed: none is started for `seconds`, then one",
    "pool.tried": "a pool was stopped; one launch tries whether its tasks start again",
    "pools.kept": "the document of pools cannot be read or has mistakes: the pools of before stay; "
    "said once",
    "pools.read": "these pools are in force from now on",
    "queue.failed": "no message can be received, and why; said once. Until it is reached again "
    "`/healthz` answers 503",
    "queue.reached": "messages can be received again",
    "question.failed": "`explain` or `status` could not be answered, and why",
    "retry.scheduled": "a call of AWS or GitHub failed and is made again after `seconds`",
    "runner.deleted": "a runner was removed from GitHub",
    "runner.missed": "a machine's runner was not online within its boot time, so the machine is "
    "ended; `console` holds the last lines of its console",
    "runner.online": "a launch's runner is online",
    "secret.kept": "a secret could not be read again: the one of before is used",
    "rerun.asked": "GitHub runs the failed jobs of a run again, since Spot took a task with one; "
    "`attempt` is the new one",
    "rerun.refused": "GitHub refuses to run a run's failed jobs again; the reason names the "
    "permission",
    "rerun.skipped": "a run that Spot interrupted is not run again, and why",
    "service.failed": "the service cannot begin; nothing is served",
    "service.started": "the service runs; `parts` names what it does, `address` is where it "
    "listens",
    "service.stop_requested": "a signal came: nothing new is taken, what has begun may end",
    "service.stopped": "the last event of a service",
    "settings.ignored": "a variable that looks like a setting is none, or a value has quotes "
    "around it, which are left out",
    "start.begun": "the runners of an order are being started; `key` is what `stop` needs",
    "start.crashed": "a mistake in the launcher itself; the traceback is in `exception`",
    "start.done": "all runners of an order are there",
    "start.failed": "an order failed, and all that was started for it is stopped",
    "start.interrupted": "a signal came, and all that was started is stopped",
    "stop.begun": "these tasks are being stopped",
    "stop.failed": "an order could not be stopped",
    "sweep.done": "the sums of one sweep: what was `found` for the first time, `removed` and "
    "`kept`; `tokens`, `runners`, `tasks`, `machines` of the removed; `deliveries` and `jobs` "
    "that were sent again; how much was `left_out`",
    "sweep.failed": "nothing was swept: the table, the pools or a credential cannot be read",
    "sweep.incomplete": "a sweep could not look at this, and why; nothing of it is removed",
    "sweep.skipped": "another process sweeps just now",
    "task.delayed": "a task cannot be started now: no capacity, a quota or a throttle (`why`); "
    "it is tried again",
    "task.failed": "a task or machine ended before its runner had a job: AWS's reason, and the "
    "agent's exit code with its meaning",
    "task.interrupted": "Spot takes a task or machine in two minutes; `has_job`: with the job that "
    "its runner has",
    "task.placed": "ECS has started a task, or EC2 a machine; `adopted`: an earlier call had done "
    "that",
    "task.refused": "ECS or EC2 refuses to start one; the reason names the permission or the "
    "setting to change. It is tried again all the same",
    "task.still_there": "a stopped task has not ended in time; its runner could not be looked for "
    "once more",
    "tick.failed": "what is done every minute failed; it is tried again by the next tick",
    "token.delayed": "a task's token could not be made or written now",
    "token.handed_over": "the token of a task stands where only this task reads it",
    "token.undeleted": "used tokens that the workers delete are still there: the next tick tries",
    "warm.failed": "a warm runner could not be looked at or started; the next tick tries again",
    "warm.skipped": "a pool keeps no warm runners, because nothing says where to register them",
    "webhook.failed": "a delivery was answered by 503, because the queue does not take it or the "
    "secrets cannot be read; GitHub does not send it again by itself",
    "work.awaited": "the service waits for messages that are being handled",
    "work.cut": "the stop time-out was over: these messages come again",
}
