"""Write the documents of the task metadata endpoint, version 4."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.ecs_agent.task import Task


def describe_container(task: Task, container: str) -> dict[str, Any]:
    """Describe the runner's container."""
    prefix = f"arn:aws:ecs:{task.region}:{task.account}"
    image = f"{task.account}.dkr.ecr.{task.region}.amazonaws.com/runner:latest"
    return {
        "DockerId": container if task.launch_type == "FARGATE" else task.id * 2,
        "Name": "runner",
        "DockerName": f"ecs-{task.family}-{task.revision}-runner-{task.id[:20]}",
        "Image": image,
        "ImageID": f"sha256:{task.id * 2}",
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster,
            "com.amazonaws.ecs.container-name": "runner",
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.task-definition-family": task.family,
            "com.amazonaws.ecs.task-definition-version": str(task.revision),
        },
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 1024, "Memory": 2048},
        "CreatedAt": "2026-01-01T00:00:02.123456789Z",
        "StartedAt": "2026-01-01T00:00:03.123456789Z",
        "Type": "NORMAL",
        "LogDriver": "awslogs",
        "LogOptions": {
            "awslogs-group": f"/ecs/{task.family}",
            "awslogs-region": task.region,
            "awslogs-stream": f"ecs/runner/{task.id}",
        },
        "ContainerARN": f"{prefix}:container/{task.cluster}/{task.id}/{uuid.UUID(task.id)}",
        "Networks": [_network(task)],
    }


def _network(task: Task) -> dict[str, Any]:
    if task.network_mode != "awsvpc":
        addresses = ["172.17.0.2"] if task.network_mode == "bridge" else [""]
        return {"NetworkMode": task.network_mode, "IPv4Addresses": addresses}
    return {
        "NetworkMode": "awsvpc",
        "IPv4Addresses": ["10.0.2.61"],
        "AttachmentIndex": 0,
        "MACAddress": "0e:10:e2:01:bd:91",
        "IPv4SubnetCIDRBlock": "10.0.2.0/24",
        "PrivateDNSName": f"ip-10-0-2-61.{task.region}.compute.internal",
        "SubnetGatewayIpv4Address": "10.0.2.1/24",
    }


def describe_stats(uptime: float, cpus_used: float) -> dict[str, Any]:
    """Describe what the runner's container has used, as docker does."""
    return {
        "read": "2026-01-01T00:00:05Z",
        "cpu_stats": {
            "cpu_usage": {"total_usage": int(uptime * cpus_used * 1e9)},
            "online_cpus": 2,
        },
        "memory_stats": {
            "usage": 700 << 20,
            "max_usage": 900 << 20,
            "stats": {"inactive_file": 100 << 20},
        },
        "networks": {"eth1": {"rx_bytes": int(uptime * 1e6), "tx_bytes": int(uptime * 1e5)}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 259, "minor": 0, "op": "Read", "value": int(uptime * 1e6)},
                {"major": 259, "minor": 0, "op": "Write", "value": int(uptime * 2e6)},
            ]
        },
    }


def describe_task(task: Task, container: str) -> dict[str, Any]:
    """Describe the task with its container."""
    cluster = task.cluster
    if task.launch_type == "FARGATE":  # there the ARN, on EC2 what the agent was configured with
        cluster = f"arn:aws:ecs:{task.region}:{task.account}:cluster/{task.cluster}"
    document: dict[str, Any] = {
        "Cluster": cluster,
        "TaskARN": task.arn,
        "Family": task.family,
        "Revision": str(task.revision),
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 1, "Memory": 2048},
        "PullStartedAt": "2026-01-01T00:00:00.123456789Z",
        "PullStoppedAt": "2026-01-01T00:00:01.123456789Z",
        "AvailabilityZone": f"{task.region}b",
        "LaunchType": task.launch_type,
        "Containers": [describe_container(task, container)],
        "VPCID": "vpc-0123456789abcdef0",
    }
    if task.service:
        document["ServiceName"] = task.service
    if task.launch_type == "FARGATE":
        document["ClockDrift"] = {
            "ClockErrorBound": 0.5,
            "ReferenceTimestamp": "2026-01-01T00:00:00Z",
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        }
        document["EphemeralStorageMetrics"] = {"Utilized": 261, "Reserved": 20496}
    return {**document, "FaultInjectionEnabled": False}
