"""Serve the ECS agent until SIGTERM or SIGINT; the package says what it offers."""

from __future__ import annotations

import argparse
import asyncio
import signal

from local import aws, ecs_agent
from local.ecs_agent import Task, serving


async def _main(host: str, port: int, task: Task, aws_endpoint: str | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(host, port, task=task, aws_endpoint=aws_endpoint) as agent:
        print(f"ready {agent.url}", flush=True)
        await stopped.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.ecs_agent",
        description=ecs_agent.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port to listen on")
    parser.add_argument("--aws-endpoint", help="URL of an STS that gives the credentials")
    parser.add_argument("--role-arn", default=aws.TASK_ROLE, help="the task role")
    parser.add_argument("--launch-type", default="EC2", choices=("EC2", "FARGATE"))
    parser.add_argument("--network-mode", default="awsvpc", choices=("awsvpc", "bridge", "host"))
    parser.add_argument("--run-task", action="store_true", help="the task is of no service")
    args = parser.parse_args()
    host, _, port = args.address.rpartition(":")
    task = Task(
        role=args.role_arn,
        launch_type=args.launch_type,
        network_mode=args.network_mode,
        service=None if args.run_task else Task.service,
    )
    asyncio.run(_main(host, int(port), task, args.aws_endpoint))


if __name__ == "__main__":
    main()
