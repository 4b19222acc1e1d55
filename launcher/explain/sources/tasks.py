"""Tell what ECS says of a task, and where its task definition sends the agent's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.explain import causes
from launcher.explain.entries import Entry, Mark, Source, clean, read_moment, seconds
from launcher.look import explain_end
from launcher.places.ecs import ECS, SETTINGS, read_state
from sidecar.aws.calls import Call, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import TypeVar

    from launcher.explain.case import Case, Home
    from sidecar.aws.session import ServiceClient

    T = TypeVar("T")

TRIES = 3
AWSLOGS = "awslogs"
KILLED = 137
"""The exit code of a container that was killed (128 and SIGKILL)."""
GONE = "ECS does not know the task any more: it shows a stopped one for about an hour"
STEPS = (
    ("pullStartedAt", "its image is being pulled"),
    ("pullStoppedAt", "its image was pulled"),
    ("startedAt", "its containers run"),
    ("stoppingAt", "it is being stopped"),
    ("executionStoppedAt", "its containers have ended"),
)
"""Times that ECS tells, each with what happened then."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """The place of an agent's log in CloudWatch Logs."""

    group: str
    stream: str
    region: str | None


async def describe_task(client: ServiceClient, cluster: str, task: str) -> Mapping[str, Any] | None:
    """Describe a task; None where ECS does not know it (any more). Raises AwsError."""

    async def describe() -> Mapping[str, Any] | None:
        connected = await client.connect()
        answer = await connected.describe_tasks(cluster=cluster, tasks=[task])
        return answer["tasks"][0] if answer["tasks"] else None

    return await _ask("cannot ask ECS about the task", "ecs:DescribeTasks", describe)


async def find_log(
    client: ServiceClient, definition: str, container: str, task: str
) -> LogPlace | str:
    """Find where an agent's log is; a text says why it cannot be found. Raises AwsError."""

    async def describe() -> list[dict[str, Any]]:
        connected = await client.connect()
        answer = await connected.describe_task_definition(taskDefinition=definition)
        return list(answer["taskDefinition"]["containerDefinitions"])

    action = "cannot ask ECS where the agent's log is"
    found = await _ask(action, "ecs:DescribeTaskDefinition", describe)
    own = next((each for each in found if each.get("name") == container), None)
    if own is None:
        return f"the task definition has no container {container} (LAUNCHER_CONTAINER)"
    log = own.get("logConfiguration") or {}
    driver, options = log.get("logDriver"), log.get("options") or {}
    if driver != AWSLOGS:
        where = f"goes to {driver}" if driver else "stays on the host: there is no log driver"
        return f"the agent's log {where}; give it with --log FILE"
    if not options.get("awslogs-stream-prefix"):
        return "the log has no awslogs-stream-prefix, so its stream is not known; give --log FILE"
    stream = f"{options['awslogs-stream-prefix']}/{container}/{task}"
    return LogPlace(str(options.get("awslogs-group")), stream, options.get("awslogs-region"))


async def _ask(action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
    call = Call(action, ECS, permission, "LAUNCHER_CLUSTER", SETTINGS)
    return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def tell(case: Case, home: Home) -> Iterator[Entry]:
    """Yield what happened to a task."""
    task = home.described
    own = identity.task_id(home.place)
    if task is None:
        if home.was_asked:
            yield Entry(Source.ECS, GONE, mark=Mark.UNSEEN, task=own)
        return
    yield Entry(Source.ECS, _tell_begin(task, own), read_moment(task.get("createdAt")), task=own)
    for name, text in STEPS:
        if (at := read_moment(task.get(name))) is not None:
            yield Entry(Source.ECS, text, at, task=own)
    yield _tell_state(case, home, task)


def _tell_begin(task: Mapping[str, Any], own: str) -> str:
    where = task.get("capacityProviderName") or task.get("launchType") or "the cluster's capacity"
    definition = str(task.get("taskDefinitionArn", "")).rpartition("/")[2]
    zone = f" in {task['availabilityZone']}" if task.get("availabilityZone") else ""
    return f"task {own} of {definition} on {where}{zone}"


def _tell_state(case: Case, home: Home, task: Mapping[str, Any]) -> Entry:
    own, status = identity.task_id(home.place), str(task["lastStatus"])
    if status != "STOPPED":
        began = read_moment(task.get("createdAt"))
        age = f" for {seconds(case.now - began)}" if began is not None else ""
        if task.get("healthStatus") == "UNHEALTHY":
            text = "it is UNHEALTHY: ECS is about to stop it"
            return Entry(
                Source.ECS, text, case.now, Mark.FAILED, causes.explain("UNHEALTHY"), task=own
            )
        mark = Mark.DONE if status == "RUNNING" else Mark.WAITS
        since = "" if status == "RUNNING" else age
        return Entry(Source.ECS, f"it is {status}{since}", case.now, mark, task=own)
    state = read_state(dict(task), home.container)
    at = read_moment(task.get("stoppedAt"))
    text = f"it stopped: {clean(explain_end(state))}"
    if (killed := _find_kill(home, state.exit_code, at)) is not None:
        words, advice = killed
        return Entry(
            Source.ECS, f"{text}: {words}", at, Mark.FAILED, advice, after=case.now, task=own
        )
    if not causes.is_failure(state.exit_code):
        return Entry(Source.ECS, text, at, Mark.DONE, after=case.now, task=own)
    advice = causes.explain(state.reason) or causes.explain_exit(state.exit_code)
    return Entry(Source.ECS, text, at, Mark.FAILED, advice, after=case.now, task=own)


def _find_kill(home: Home, code: int | None, stopped: float | None) -> tuple[str, str] | None:
    """Say that the agent was killed before its stop budget was over, and what to change.

    Only its own events tell: a stop was requested, and its life never ended.
    """
    requested = next((each for each in home.events if each.name == "stop.requested"), None)
    if code != KILLED or requested is None or requested.at is None or stopped is None:
        return None
    budget = requested.facts.get("budget")
    if not isinstance(budget, int | float) or any(e.name == "life.ended" for e in home.events):
        return None
    waited = stopped - requested.at
    if waited >= budget:
        return None
    words = f"killed {seconds(waited)} after the stop, within the agent's stop budget of "
    advice = (
        "let stopTimeout of the container be no shorter than SIDECAR_STOP_TIMEOUT, or lower that; "
        "`runner-launcher doctor` compares them"
    )
    return f"{words}{budget:g} s", advice
