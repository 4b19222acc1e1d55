"""Wrong set-ups, and the line by which `runner-sidecar doctor` names the cause of each.

`docs/doctor.md` is written from this table; tests/doctor plays every row on the stand-ins.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WrongSetup:
    """A wrong set-up, and the line that names it."""

    title: str
    """In words."""
    check: str
    """The check that finds it."""
    words: str
    """The words of its line."""
    level: str = "failed"


WRONG = {
    # --- settings and place -----------------------------------------------------------------
    "nothing-is-set": WrongSetup(
        "neither a token nor a credential for GitHub is set",
        "settings",
        "SIDECAR_TOKEN_PARAMETER is missing",
    ),
    "unknown-setting": WrongSetup(
        "the name of a setting is misspelt",
        "settings",
        "SIDECAR_LABEL is not a setting; did you mean SIDECAR_LABELS?",
        "warning",
    ),
    "token-in-place-of-a-name": WrongSetup(
        "the token itself stands where the name of its parameter should",
        "settings",
        "SIDECAR_TOKEN_PARAMETER holds a token",
    ),
    "two-launchers": WrongSetup(
        "the variables of two launchers are set",
        "settings",
        "contradicts",
    ),
    "no-task-metadata": WrongSetup(
        "the task metadata do not answer",
        "place",
        "ECS's task metadata do not answer",
        "warning",
    ),
    # --- network ----------------------------------------------------------------------------
    "no-name-service": WrongSetup(
        "the name service does not answer", "dns", "cannot look up ghes.example.com"
    ),
    "proxy-swallows": WrongSetup(
        "the proxy takes connections, and never answers", "proxy", "by the proxy 127.0.0.1"
    ),
    "proxy-refuses": WrongSetup("the proxy wants a password", "proxy", "answers 407"),
    "proxy-is-gone": WrongSetup(
        "nobody listens at the proxy's address", "proxy", "connection refused"
    ),
    "proxy-of-another-kind": WrongSetup(
        "the proxy is one for SOCKS", "proxy", "HTTPS_PROXY must name a proxy by http://"
    ),
    "proxy-sees-credentials": WrongSetup(
        "HTTP_PROXY is set, NO_PROXY leaves out the ECS agent, and nothing is relayed",
        "proxy",
        "send requests for credentials to the proxy",
        "warning",
    ),
    "proxies-differ": WrongSetup(
        "https_proxy and HTTPS_PROXY have two values",
        "proxy",
        "https_proxy and HTTPS_PROXY differ",
        "warning",
    ),
    "issuer-not-trusted": WrongSetup(
        "GitHub's certificate has an issuer that the image does not trust",
        "certificates",
        "its certificate is not trusted",
    ),
    "no-file-of-issuers": WrongSetup("SSL_CERT_FILE names no file", "certificates", "no such file"),
    "no-certificates-in-it": WrongSetup(
        "AWS_CA_BUNDLE names a file that holds no certificate",
        "certificates",
        "it holds no certificates in PEM form",
        "warning",
    ),
    "clock-is-off": WrongSetup(
        "the machine's clock is ten minutes behind", "clock", "AWS refuses what is signed with it"
    ),
    "clock-is-off-for-an-app": WrongSetup(
        "the clock is 90 s ahead, and the agent is a GitHub App",
        "clock",
        "GitHub refuses what the App signs",
    ),
    # --- AWS --------------------------------------------------------------------------------
    "no-aws-credentials": WrongSetup("the task has no role", "identity", "no AWS credentials"),
    "no-region": WrongSetup("no region is set", "identity", "no region is set (set AWS_REGION)"),
    "no-token-yet": WrongSetup(
        "the token's parameter does not exist (yet)",
        "token",
        "there is no such parameter",
        "warning",
    ),
    "token-may-not-be-read": WrongSetup(
        "the task role lacks `ssm:GetParameter`", "token", "access denied (needs ssm:GetParameter)"
    ),
    "key-may-not-be-used": WrongSetup(
        "the task role lacks `kms:Decrypt`", "token", "KMS refuses to decrypt it"
    ),
    "no-way-to-ssm": WrongSetup("the VPC has no way to SSM", "token", "no network path to SSM"),
    "ssm-is-silent": WrongSetup(
        "a security group drops what goes to SSM", "token", "no answer from SSM"
    ),
    "something-else-than-ssm": WrongSetup(
        "something else answers in SSM's place", "token", "unreadable answer"
    ),
    "no-token-in-it": WrongSetup(
        "the parameter holds something else", "token", "its value is no registration token"
    ),
    "old-token": WrongSetup("the token is two hours old", "token", "min ago"),
    "sealed-without-a-key": WrongSetup(
        "the token is sealed, and its key is missing", "token", "SIDECAR_TOKEN_KEY is missing"
    ),
    "token-may-not-be-deleted": WrongSetup(
        "the task role lacks `ssm:DeleteParameter`",
        "policy",
        "refuse ssm:DeleteParameter",
    ),
    "policy-may-not-be-asked": WrongSetup(
        "the role may not ask for its own policies",
        "policy",
        "not asked without doing it: ssm:DeleteParameter",
        "unknown",
    ),
    "policy-has-a-condition": WrongSetup(
        "the policy has a condition on the parameter's tags",
        "policy",
        "as far as a condition can be judged here",
        "unknown",
    ),
    # --- GitHub -----------------------------------------------------------------------------
    "no-way-to-github": WrongSetup(
        "nothing lets the task out to GitHub", "github", "connection refused"
    ),
    "github-is-silent": WrongSetup("what goes to GitHub is dropped", "github", "no answer within"),
    "github-is-down": WrongSetup("GitHub answers 503", "github", "answers 503"),
    "no-url": WrongSetup(
        "neither settings nor token say where to register",
        "github",
        "nothing says yet where the runner is registered",
        "unknown",
    ),
    "wrong-pat": WrongSetup(
        "GitHub does not know the access token", "credential", "GitHub answers 401: Bad credentials"
    ),
    "pat-of-another-repository": WrongSetup(
        "the access token is for another repository", "credential", "GitHub answers 404"
    ),
    "secret-is-missing": WrongSetup(
        "the secret that holds the access token does not exist",
        "credential",
        "there is no such parameter (SIDECAR_GITHUB_PAT)",
        "warning",
    ),
    "key-file-is-missing": WrongSetup(
        "the file of the App's key does not exist",
        "credential",
        "cannot read SIDECAR_GITHUB_APP_KEY",
    ),
    "key-is-none": WrongSetup(
        "the App's key is no private key", "credential", "holds no RSA private key in PEM form"
    ),
    "key-of-another-app": WrongSetup(
        "the key is another App's", "credential", "GitHub answers 401"
    ),
    "app-not-installed": WrongSetup(
        "the App is not installed for the repository", "credential", "is not installed for"
    ),
    "app-suspended": WrongSetup(
        "the App's installation is suspended", "credential", "is suspended"
    ),
    "app-without-permission": WrongSetup(
        "the App may read the repository's administration, not write",
        "credential",
        "administration is read",
    ),
    "address-not-allowed": WrongSetup(
        "the organization's IP allow list lacks the task's address",
        "credential",
        "IP allow list",
    ),
    "token-of-another-repository": WrongSetup(
        "the token is for another repository", "registration", "GitHub does not take the token"
    ),
    "runner-is-gone": WrongSetup(
        "the just-in-time configuration is of a runner that was removed",
        "registration",
        "does not know the runner of the just-in-time configuration",
    ),
    "blocked-host": WrongSetup(
        "the proxy does not let through one host of GitHub's",
        "hosts",
        "results-receiver.actions.githubusercontent.com (logs and artifacts)",
    ),
    # --- the image --------------------------------------------------------------------------
    "no-runner": WrongSetup(
        "the runner's folder holds no runner", "runner", "holds no actions runner"
    ),
    "old-runner": WrongSetup(
        "the image holds a runner of last month", "runner", "built 33 days ago", "warning"
    ),
    "read-only-runner": WrongSetup(
        "the runner's folder is read-only", "runner", "cannot be written to (SIDECAR_RUNNER_DIR)"
    ),
    "full-disk": WrongSetup("the disk is full", "runner", "0 MiB free (SIDECAR_WORK_DIR)"),
    "one-user": WrongSetup(
        "jobs run as the agent's own user",
        "users",
        "the agent and its jobs are one user",
        "warning",
    ),
    "no-such-user": WrongSetup(
        "the runner's user does not exist", "settings", "names no user of this system"
    ),
    "no-home": WrongSetup("the runner's user has no home", "users", "has no home", "warning"),
    # --- docker -----------------------------------------------------------------------------
    "no-daemon-at-docker-host": WrongSetup(
        "nobody listens at DOCKER_HOST", "docker", "the docker daemon does not answer"
    ),
    "no-daemon-at-all": WrongSetup(
        "SIDECAR_DOCKER_PROXY=on, and there is no daemon", "docker", "nothing names a docker daemon"
    ),
    "daemon-comes-with-run": WrongSetup(
        "the image `dind`, without a running agent: its daemon is not started yet",
        "docker",
        "the image starts its docker daemon for `run` alone",
        "unknown",
    ),
    "daemon-elsewhere": WrongSetup(
        "the daemon is the instance's, and shares no folder",
        "docker",
        "jobs in containers fail",
        "warning",
    ),
    "open-socket": WrongSetup(
        "the runner's user may use the daemon's own socket",
        "docker",
        "past the agent's proxy",
        "warning",
    ),
    # --- credentials of jobs ----------------------------------------------------------------
    "rules-in-network-mode-host": WrongSetup(
        "SIDECAR_RELAY=netfilter in network mode host", "relay", "not the task's own"
    ),
    "nothing-to-relay": WrongSetup(
        "SIDECAR_RELAY_REQUIRED, and the task has no role", "relay", "no task role"
    ),
    "wrong-credentials-url": WrongSetup(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI names a far host over plain http",
        "relay",
        "over plain http",
        "warning",
    ),
    "job-role-refused": WrongSetup(
        "the job's role does not trust the task role", "job role", "access denied"
    ),
    "rules-with-a-mistake": WrongSetup(
        "a rule of SIDECAR_ROLES has a mistake", "settings", "SIDECAR_ROLES: job 'shop': role"
    ),
    "rules-in-ssm-with-a-mistake": WrongSetup(
        "the same, in a parameter", "job role", "SIDECAR_ROLES: job 'shop': role"
    ),
    "no-rules-in-ssm": WrongSetup(
        "the parameter that SIDECAR_ROLES names is not there",
        "job role",
        "cannot read SIDECAR_ROLES from the parameter",
    ),
    "rule-s-role-may-not-be-assumed": WrongSetup(
        "the task role may not assume the role of a rule, in another account",
        "policy",
        "the role's policies refuse sts:TagSession",
    ),
    "rule-s-role-needs-trust": WrongSetup(
        "the same in its own account, where the role's trust policy may be enough",
        "policy",
        "which is in the same account",
        "unknown",
    ),
    "rules-by-the-task-role-beside-docker": WrongSetup(
        'a rule with proof = "runner", whose jobs have docker',
        "job role",
        "may claim any repository",
        "warning",
    ),
    "keys-in-variables": WrongSetup(
        "AWS_ACCESS_KEY_ID is set beside the task role",
        "roles",
        "win over the role",
        "warning",
    ),
    "instance-role-in-a-task": WrongSetup(
        "a task reaches the instance's metadata",
        "roles",
        "in a task, a job has this role as well",
        "warning",
    ),
    "instance-role-in-a-container": WrongSetup(
        "a container of a job reaches the instance's metadata (`--container`)",
        "container",
        "assumed-role/instance/",
        "warning",
    ),
    "no-such-image": WrongSetup(
        "the daemon has no image of that name (`--container`)",
        "container",
        "the docker daemon has no image",
    ),
    "no-credentials-from-ecs": WrongSetup(
        "the ECS agent does not know the task's credentials",
        "roles",
        "answered 400 InvalidIdInRequest",
        "warning",
    ),
    # --- the end ----------------------------------------------------------------------------
    "short-stop-timeout": WrongSetup(
        "stopTimeout is shorter than the stop budget",
        "stop",
        "ECS kills the agent before it has cleaned up",
    ),
    "long-stop-timeout": WrongSetup(
        "stopTimeout is longer than the stop budget",
        "stop",
        "jobs have less time than they could",
        "warning",
    ),
    "too-long-for-fargate": WrongSetup(
        "the stop budget is longer than Fargate allows", "stop", "Fargate grants 120 s"
    ),
    "definition-may-not-be-read": WrongSetup(
        "the task role may not read the task definition", "stop", "not compared", "unknown"
    ),
    "health-address-taken": WrongSetup(
        "another program listens at the health address",
        "health",
        "another program listens at",
        "warning",
    ),
}
