"""An account of AWS whose answers a test lists."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from launcher.deploy.aws import translated

ROLES = {
    "taskRoleArn": "arn:aws:iam::123456789012:role/task",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
}


class FakeAccount:
    """An account whose answers are listed by operation, each given once; an error is raised."""

    region, partition = "eu-central-1", "aws"

    def __init__(self, id_: str = "123456789012", **answers: list[Any]) -> None:
        self.id = id_
        self.answers = {name: list(given) for name, given in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN, as the real one does."""
        return f"arn:aws:{service}:{self.region}:{self.id}:{resource}"

    def call(
        self,
        _service: str,
        operation: str,
        action: str,
        *,
        quotes_aws: bool = True,
        **arguments: Any,
    ) -> Any:
        """Give the next answer."""
        self.calls.append((operation, arguments))
        answer = self.answers[operation].pop(0) if self.answers.get(operation) else {}
        with translated(action, quotes_aws=quotes_aws):
            if isinstance(answer, Exception):
                raise answer
            return answer

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def asked(self) -> list[str]:
        """List the operations that were called."""
        return [operation for operation, _ in self.calls]


def refuse(code: str, message: str) -> ClientError:
    """Make an error that AWS answers."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "any")


def state(status: str, **more: Any) -> dict[str, Any]:
    """Make an answer of DescribeStacks."""
    return {"Stacks": [{"StackStatus": status, **more}]}


NO_STACK = refuse("ValidationError", "Stack with id x does not exist")
