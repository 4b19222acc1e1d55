"""Check the texts of a pool: names of AWS and of GitHub, labels and tags.

Each check raises ValueError with what the text must be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.pools.labels import SYSTEM_LABELS
from sidecar.values import LABEL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PROVIDER = re.compile(r"(?!aws|ecs|fargate)[A-Za-z0-9_-]{1,255}|FARGATE|FARGATE_SPOT")
_CLUSTER = re.compile(r"(arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/)?[A-Za-z0-9_-]{1,255}")
_DEFINITION = re.compile(
    r"(arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task-definition/)?[A-Za-z0-9_-]{1,255}(:\d{1,9})?"
)
_CONTAINER = re.compile(r"[A-Za-z0-9_-]{1,255}")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_TEMPLATE = re.compile(r"lt-[0-9a-f]{8,17}|[A-Za-z0-9()./_-]{3,128}")
_VERSION = re.compile(r"\$Default|\$Latest|[1-9]\d{0,8}")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]{0,30}\.[a-z0-9-]{1,30}")
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")
_PROFILE = re.compile(
    r"(arn:aws[a-z-]*:iam::\d{12}:instance-profile/([!-~]+/)?)?[A-Za-z0-9+=,.@_-]{1,128}"
)
_AGENT_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")
_ADDRESS = re.compile(r"(https|s3)://[A-Za-z0-9._~:/?&=%+-]{1,1000}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_METADATA_TAG = re.compile(r"[A-Za-z0-9+=.,_:@-]+")
_TAG = re.compile(r"[\w\s.:/=+\-@]*")
_TAG_KEY, _TAG_VALUE, _GROUP_NAME = 128, 256, 256
"""Characters, at most."""


def _matching(rule: re.Pattern[str], message: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not rule.fullmatch(text):
            raise ValueError(message)

    return check


check_name = _matching(_NAME, "must be 1 to 40 lower-case letters, digits and '-'")
check_provider = _matching(_PROVIDER, "must be FARGATE, FARGATE_SPOT or a provider's name")
check_cluster = _matching(_CLUSTER, "must be the name or ARN of a cluster")
check_definition = _matching(_DEFINITION, "must be a family, family:revision or an ARN")
check_subnet = _matching(_SUBNET, "must be the id of a subnet")
check_security_group = _matching(_GROUP, "must be the id of a group")
check_template = _matching(_TEMPLATE, "must be the id or the name of a launch template")
check_version = _matching(_VERSION, "must be a number, $Default or $Latest")
check_instance_type = _matching(_INSTANCE_TYPE, "must be an instance type, such as c7i.large")
check_image = _matching(_IMAGE, "must be the id of an image, such as ami-0123456789abcdef0")
check_profile = _matching(_PROFILE, "must be the name or ARN of an instance profile")
check_agent_image = _matching(_AGENT_IMAGE, "must be the name of an image that docker can pull")
check_address = _matching(_ADDRESS, "must be an address with https:// or s3://")
check_sha256 = _matching(_SHA256, "must be a SHA-256 sum: 64 lower-case hexadecimal digits")
check_container = _matching(_CONTAINER, "must be the name of a container")


def check_label(text: str) -> None:
    """Check a label that a pool's runners have."""
    if text.lower() in SYSTEM_LABELS:
        message = "is the system's own label; set os and architecture instead"
        raise ValueError(message)
    if not text.strip() or text != text.strip() or not text.isprintable() or text[0] == "-":
        message = "must be printable, without spaces around it or '-' before it"
        raise ValueError(message)
    if len(text) > LABEL_LENGTH:
        message = f"must have {LABEL_LENGTH} characters at most"
        raise ValueError(message)
    if "*" in text:
        message = "has a '*'; put it into patterns"
        raise ValueError(message)


def check_group_name(text: str) -> None:
    """Check the name of a runner group."""
    if not text.isprintable() or text.startswith("-") or len(text) > _GROUP_NAME:
        message = "must be the name of a runner group"
        raise ValueError(message)


def check_tag(key: str, value: str) -> None:
    """Check a tag of a task, as AWS takes it."""
    if not 1 <= len(key) <= _TAG_KEY or not _TAG.fullmatch(key) or key.lower().startswith("aws:"):
        message = f"must be 1 to {_TAG_KEY} characters that AWS takes, not beginning with aws:"
        raise ValueError(message)
    if len(value) > _TAG_VALUE or not _TAG.fullmatch(value):
        message = f"must have {_TAG_VALUE} characters at most, letters, digits and _.:/=+-@"
        raise ValueError(message)


def check_metadata_tag(key: str, value: str) -> None:
    """Check a tag of a machine, whose metadata show it."""
    check_tag(key, value)
    if not _METADATA_TAG.fullmatch(key):
        message = "must be letters, digits and +-=.,_:@ alone: a machine's metadata show its tags"
        raise ValueError(message)
