"""Wrong set-ups, and the line by which `runner-launcher doctor` names the cause of each.

`docs/launcher-doctor.md` is written from this table; tests/launcher_doctor plays every row.
"""

from __future__ import annotations

from docs.setups import WrongSetup

WRONG = {
    # --- settings and network ---------------------------------------------------------------
    "nothing-named": WrongSetup(
        "neither pools nor a task definition are named",
        "settings",
        "nothing that is started is examined",
        "warning",
    ),
    "no-credential": WrongSetup(
        "there is no credential for GitHub", "settings", "LAUNCHER_GITHUB_APP_ID is missing"
    ),
    "no-name-service": WrongSetup(
        "the name of the GitHub server has no address", "dns", "cannot look up"
    ),
    "proxy-swallows": WrongSetup(
        "the proxy takes connections, and never answers", "proxy", "by the proxy 127.0.0.1"
    ),
    "clock-is-off": WrongSetup(
        "the machine's clock is ten minutes ahead", "clock", "AWS refuses what is signed with it"
    ),
    "no-aws-credentials": WrongSetup(
        "there are no AWS credentials", "identity", "no AWS credentials"
    ),
    # --- GitHub -----------------------------------------------------------------------------
    "wrong-app-key": WrongSetup("the key is another App's", "credential", "GitHub answers 401"),
    "key-forbidden": WrongSetup(
        "the App's key is in a parameter whose KMS key may not be used",
        "credential",
        "KMS refuses to decrypt it",
    ),
    "app-without-permission": WrongSetup(
        "the App may read the repository's administration, not write",
        "app",
        "lacks permissions: administration is read",
    ),
    "app-without-event": WrongSetup(
        "the App is not subscribed to workflow jobs", "app", "the event workflow_job is not among"
    ),
    "installation-suspended": WrongSetup(
        "the App's installation is suspended", "installation", "its installation is suspended"
    ),
    "permissions-not-accepted": WrongSetup(
        "an owner has not accepted the App's new permission",
        "installation",
        "lacks permissions: administration is none",
    ),
    "not-installed": WrongSetup("the App is installed nowhere", "installation", "nowhere"),
    "wrong-webhook-secret": WrongSetup(
        "the webhook has another secret than the launcher",
        "webhook",
        "the webhook's secret is another one",
    ),
    "webhook-without-secret": WrongSetup(
        "the webhook has no secret", "webhook", "the webhook of App 1001 has no secret"
    ),
    "nobody-at-the-payload-url": WrongSetup(
        "nobody listens at the payload URL", "webhook", "nobody takes it"
    ),
    "some-deliveries-failed": WrongSetup(
        "some deliveries failed, and the last one was taken",
        "webhook",
        "deliveries of App 1001 failed",
        "warning",
    ),
    "pools-have-a-mistake": WrongSetup(
        "the document of pools has a mistake", "pools", "pool 'build': maximum"
    ),
    "no-such-group": WrongSetup(
        "there is no such runner group", "group", "there is no runner group"
    ),
    "group-not-visible": WrongSetup(
        "the runner group is not visible to the repository",
        "group",
        "is not visible to octo/repo",
    ),
    "name-taken": WrongSetup(
        "the task definition names all runners alike, and the name is taken",
        "name",
        "a runner of this name is registered already",
    ),
    # --- ECS --------------------------------------------------------------------------------
    "no-such-cluster": WrongSetup("there is no such cluster", "cluster", "there is none"),
    "no-such-provider": WrongSetup(
        "the cluster has no such capacity provider", "cluster", "lacks the capacity provider"
    ),
    "no-such-definition": WrongSetup(
        "there is no such task definition", "definition", "there is no task definition"
    ),
    "revision-inactive": WrongSetup(
        "the revision was deregistered", "definition", "runner:1 is INACTIVE"
    ),
    "no-such-container": WrongSetup(
        "the container has another name", "definition", "has no container agent"
    ),
    "no-such-role": WrongSetup("the task role does not exist", "roles", "does not exist"),
    "role-trusts-others": WrongSetup(
        "the execution role does not trust ECS", "roles", "does not trust ECS"
    ),
    "pass-role-execution": WrongSetup(
        "PassRole on the execution role is missing",
        "rights",
        "refuse iam:PassRole on arn:aws:iam::123456789012:role/execution",
    ),
    "pass-role-task": WrongSetup(
        "PassRole on the task role is missing",
        "rights",
        "refuse iam:PassRole on arn:aws:iam::123456789012:role/runner-task",
    ),
    "rights-may-not-be-asked": WrongSetup(
        "nobody may ask IAM", "rights", "not asked without doing it: ", "unknown"
    ),
    # --- network, image, quotas -------------------------------------------------------------
    "no-way-out": WrongSetup(
        "a private subnet has no way out", "network", "has no way out: GitHub cannot be reached"
    ),
    "no-public-address": WrongSetup(
        "the way out is an internet gateway, and tasks have no public address",
        "network",
        "the tasks have no public address",
    ),
    "no-egress": WrongSetup(
        "the security group lets nothing out", "network", "lets nothing out to port 443"
    ),
    "no-such-subnet": WrongSetup("there is no such subnet", "network", "there is no subnet"),
    "no-such-image": WrongSetup("the image is not there", "image", "there is no image"),
    "no-such-template": WrongSetup(
        "a pool's launch template does not exist", "machines", "of the launch template machines"
    ),
    "quota-too-small": WrongSetup(
        "Fargate's quota is smaller than one task", "quota", "none can be started"
    ),
    "quota-of-pools": WrongSetup(
        "Fargate's quota is smaller than what the pools may start",
        "quota",
        "some launches wait",
        "warning",
    ),
    # --- the containers ---------------------------------------------------------------------
    "stop-timeout-too-short": WrongSetup(
        "stopTimeout is shorter than the stop budget",
        "stop",
        "ECS kills the agent before it has cleaned up",
    ),
    "health-check-kills": WrongSetup(
        "the health check asks a port where nobody listens", "health", "ECS kills every task"
    ),
    "health-check-of-nothing": WrongSetup(
        "there is a health check, and the agent's health is off", "health", "is off"
    ),
}
