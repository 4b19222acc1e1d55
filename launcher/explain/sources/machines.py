"""Tell what EC2 says of a machine, and what stands on its console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from launcher.explain import causes
from launcher.explain.entries import Entry, Mark, Source, clean, read_moment, seconds
from launcher.look import explain_end
from launcher.places import TaskState
from launcher.places.ec2 import EC2, EXIT_LINE, GONE, NO_LATEST, SETTING
from launcher.places.ec2_answers import read_state
from sidecar.aws.calls import Call, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import TypeVar

    from launcher.explain.case import Case, Home
    from sidecar.aws.session import ServiceClient

    T = TypeVar("T")

TRIES = 3
UNKNOWN = "EC2 does not know the machine any more: it shows a terminated one for about an hour"
SAYS = "runner-machine: "
"""How lines of the user data begin."""


async def describe_machine(client: ServiceClient, machine: str) -> Mapping[str, Any] | None:
    """Describe a machine; None where EC2 does not know it (any more). Raises AwsError."""

    async def describe() -> Mapping[str, Any] | None:
        connected = await client.connect()
        filters = [{"Name": "instance-id", "Values": [machine]}]
        answer = await connected.describe_instances(Filters=filters)
        found = [each for group in answer["Reservations"] for each in group["Instances"]]
        return found[0] if found else None

    return await _ask("cannot ask EC2 about the machine", "ec2:DescribeInstances", describe)


async def read_console(client: ServiceClient, machine: str) -> list[str]:
    """Read the lines of a machine's console, as far as EC2 has them. Raises AwsError."""
    try:
        return await _read_console(client, machine, latest=True)
    except _NoLatest:  # only newer types show it while they run
        return await _read_console(client, machine, latest=False)


class _NoLatest(Exception):
    """EC2 shows the console of this type only after the machine's state has changed."""


async def _read_console(client: ServiceClient, machine: str, *, latest: bool) -> list[str]:
    refused = False

    async def read() -> list[str]:
        nonlocal refused
        connected = await client.connect()
        try:
            more = {"Latest": True} if latest else {}
            answer = await connected.get_console_output(InstanceId=machine, **more)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if latest and code in NO_LATEST:
                refused = True
                return []
            if code in GONE:
                return []
            raise
        return str(answer.get("Output") or "").splitlines()

    lines = await _ask("cannot read the machine's console", "ec2:GetConsoleOutput", read)
    if refused:
        raise _NoLatest
    return lines


async def _ask(action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
    call = Call(action, EC2, permission, SETTING)
    return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def tell(case: Case, home: Home) -> Iterator[Entry]:
    """Yield what happened to a machine."""
    found, own = home.described, home.place
    if found is None:
        if home.was_asked:
            yield Entry(Source.EC2, UNKNOWN, mark=Mark.UNSEEN, task=own)
        return
    began = read_moment(found.get("LaunchTime"))
    life = "spot" if found.get("InstanceLifecycle") == "spot" else "on-demand"
    zone = found.get("Placement", {}).get("AvailabilityZone", "")
    text = f"machine {own}, {found.get('InstanceType')}, {life}, in {zone}"
    yield Entry(Source.EC2, text, began, task=own)
    for line in home.lines:
        if SAYS in line:
            said = clean(line.partition(SAYS)[2])
            yield Entry(Source.EC2, f"its console: {said}", None, after=began, task=own)
    yield _tell_state(case, home, found, began)


def _tell_state(case: Case, home: Home, found: Mapping[str, Any], began: float | None) -> Entry:
    own, state = home.place, read_state(found)
    name = found["State"]["Name"]
    if not state.stopping:
        age = seconds(case.now - began) if began is not None else "some time"
        mark = Mark.DONE if name == "running" else Mark.WAITS
        return Entry(Source.EC2, f"it is {name}, {age} after its start", case.now, mark, task=own)
    codes = [int(said[1]) for line in home.lines if (said := EXIT_LINE.search(line))]
    code = codes[-1] if codes else None
    ended = TaskState(own, state.status, True, code, state.reason)
    text = f"it is {name}: {clean(explain_end(ended))}"
    good = code is not None and not causes.is_failure(code)
    if good or _is_planned(case, code):
        return Entry(Source.EC2, text, None, Mark.DONE, after=case.now, task=own)
    advice = causes.explain(state.reason) or causes.explain_exit(code)
    return Entry(Source.EC2, text, None, Mark.FAILED, advice, after=case.now, task=own)


def _is_planned(case: Case, code: int | None) -> bool:
    """Whether a machine that said nothing at its end ended after its job."""
    launch = case.launch
    return code is None and launch is not None and launch.served
