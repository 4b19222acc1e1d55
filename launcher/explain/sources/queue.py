"""Tell how many messages wait in the queue between webhook and worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.demand.queue import SETTING, SQS
from launcher.explain.entries import Entry, Mark, Source
from sidecar.aws.calls import Call, backoff
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiobotocore.session import AioSession

    from launcher.explain.case import Case

COUNTS = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
TRIES = 3


class QueueCounts(ServiceClient):
    """Counts the messages of a queue. Every call raises AwsError, in one of its kinds."""

    def __init__(
        self,
        url: str,
        region: str | None,
        make_session: Callable[[], AioSession] | None = None,
    ) -> None:
        super().__init__(SQS, region, make_session)
        self._url = url

    async def count(self) -> Mapping[str, int]:
        """Count them: waiting, in flight, delayed. SQS counts approximately."""

        async def count() -> dict[str, int]:
            client = await self.connect()
            answer = await client.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=list(COUNTS)
            )
            return {COUNTS[name]: int(number) for name, number in answer["Attributes"].items()}

        call = Call("cannot count the queue's messages", SQS, "sqs:GetQueueAttributes", SETTING)
        return await call_with_retries(lambda: call.run(count), backoff(), tries=TRIES)


def tell(case: Case) -> Iterator[Entry]:
    """Yield what is in the queue, where the job has no task yet."""
    found = case.messages
    job, launch = case.job, case.launch
    if found is None or (job is not None and (job.began or job.ended)):
        return
    if launch is not None and (launch.place is not None or launch.settled):
        return
    counts = ", ".join(f"{number} {name}" for name, number in found.items())
    waits = launch is None and found.get("waiting", 0) > 0
    mark = Mark.WAITS if waits else Mark.NOTE
    yield Entry(Source.QUEUE, f"messages of all jobs: {counts}", case.now, mark)
