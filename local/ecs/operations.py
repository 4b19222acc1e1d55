"""Answer each operation of the control plane; RunTask itself is in `plane`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.ecs.checks import RefusedError
from local.ecs.tasks import FARGATE, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.ecs.plane import ControlPlane


def describe_tasks(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Describe the tasks; what is not known is a failure MISSING."""
    plane.find_cluster(wanted)
    asked = wanted.get("tasks", [])
    if not 1 <= len(asked) <= 100:
        raise RefusedError("InvalidParameterException", "Tasks length must be 1 to 100")
    tags = "TAGS" in wanted.get("include", [])
    found, failures = [], []
    for name in asked:
        task = plane.find_task(name)
        if task is None or plane.missing > 0:
            plane.missing = max(0, plane.missing - 1)
            failures.append({"arn": name, "reason": "MISSING"})
        else:
            found.append(task.describe(tags=tags))
    return {"tasks": found, "failures": failures}


def stop_task(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Stop a task: SIGTERM now, SIGKILL after the stop timeout."""
    plane.find_cluster(wanted)
    task = plane.find_task(wanted.get("task", ""))
    if task is None:
        raise RefusedError("InvalidParameterException", "The referenced task was not found.")
    task.stop("UserInitiated", wanted.get("reason", "Task stopped by user"))
    return {"task": task.describe()}


def list_tasks(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """List tasks; with `startedBy` those that are to run, and no other filter."""
    cluster = plane.find_cluster(wanted)
    started_by, family = wanted.get("startedBy"), wanted.get("family")
    if started_by and (family or wanted.get("desiredStatus")):
        raise RefusedError(
            "InvalidParameterException", "startedBy can only be used as the only filter"
        )
    desired = wanted.get("desiredStatus", "RUNNING")
    return {
        "taskArns": [
            task.arn
            for task in plane.tasks
            if task.cluster == cluster
            and task.desired == desired
            and started_by in (None, task.request.get("startedBy"))
            and family in (None, task.definition.family)
        ]
    }


def tag_resource(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Add tags to a task."""
    task = plane.find_task(wanted.get("resourceArn", ""))
    if task is None or task.status == "STOPPED":
        raise RefusedError("InvalidParameterException", "The specified task was not found.")
    task.tags |= {tag["key"]: tag["value"] for tag in wanted.get("tags", [])}
    return {}


def describe_task_definition(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Describe a task definition, and its tags where they are asked for."""
    found = plane.find_definition(str(wanted.get("taskDefinition", "")))
    tags = {"tags": found.list_tags()} if "TAGS" in wanted.get("include", []) else {}
    return {"taskDefinition": found.describe(), **tags}


def describe_clusters(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Describe clusters, each with its capacity providers; what is not known is MISSING."""
    found, failures = [], []
    for name in wanted.get("clusters") or ["default"]:
        own = str(name).rpartition("/")[2]
        arn = f"{PREFIX}:cluster/{own}"
        if own not in plane.clusters:
            failures.append({"arn": arn, "reason": "MISSING"})
            continue
        providers = [*FARGATE, *sorted(plane.machines)]
        described = {"clusterArn": arn, "clusterName": own, "status": "ACTIVE"}
        found.append({**described, "capacityProviders": providers})
    return {"clusters": found, "failures": failures}


def list_families(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """List families of task definitions; a page holds 100."""
    prefix = wanted.get("familyPrefix", "")
    found = sorted({each.family for each in plane.definitions})
    return _page("families", [each for each in found if each.startswith(prefix)], wanted)


def list_definitions(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """List the ARNs of a family's task definitions, or of all."""
    prefix = wanted.get("familyPrefix")
    found = [each for each in plane.definitions if prefix in (None, each.family)]
    found.sort(key=lambda each: each.revision, reverse=wanted.get("sort") == "DESC")
    return _page("taskDefinitionArns", [each.arn for each in found], wanted)


def list_tags(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """List the tags of a task or a task definition."""
    arn = str(wanted.get("resourceArn", ""))
    if (task := plane.find_task(arn)) is not None:
        return {"tags": task.describe(tags=True).get("tags", [])}
    return {"tags": plane.find_definition(arn).list_tags()}


OPERATIONS: dict[str, Callable[[ControlPlane, dict[str, Any]], dict[str, Any]]] = {
    "RunTask": lambda plane, wanted: plane.run_task(wanted),
    "DescribeTasks": describe_tasks,
    "StopTask": stop_task,
    "ListTasks": list_tasks,
    "TagResource": tag_resource,
    "DescribeClusters": describe_clusters,
    "DescribeTaskDefinition": describe_task_definition,
    "ListTaskDefinitionFamilies": list_families,
    "ListTaskDefinitions": list_definitions,
    "ListTagsForResource": list_tags,
}


def _page(name: str, found: list[str], wanted: dict[str, Any]) -> dict[str, Any]:
    begins, most = int(wanted.get("nextToken") or 0), int(wanted.get("maxResults") or 100)
    end = begins + most
    more = {"nextToken": str(end)} if end < len(found) else {}
    return {name: found[begins:end], **more}
