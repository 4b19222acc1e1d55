"""Check a request as EC2 does before it does anything."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

LONGEST_USER_DATA = 16_384
LONGEST_TOKEN = 64
MOST_TAGS = 50
MOST_OVERRIDES = 300
_METADATA_KEY = re.compile(r"[A-Za-z0-9+\-=._,:@]{1,255}")


class RefusedError(Exception):
    """An error that EC2 answers: its code and its words."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def check_instance(wanted: dict[str, Any]) -> None:
    """Check what a machine is made of, after its template is merged. Raises RefusedError."""
    text = wanted.get("UserData", "")
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RefusedError(
            "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."
        ) from error
    if len(raw) > LONGEST_USER_DATA:
        message = f"User data is limited to {LONGEST_USER_DATA} bytes"
        raise RefusedError("InvalidParameterValue", message)
    check_tags(wanted)
    for needed in ("ImageId", "InstanceType"):
        if not wanted.get(needed):
            message = f"The request must contain the parameter {needed}"
            raise RefusedError("MissingParameter", message)


def check_tags(wanted: dict[str, Any]) -> None:
    """Check the tags that a machine begins with."""
    tags = read_tags(wanted)
    if len(tags) > MOST_TAGS:
        raise RefusedError("TagLimitExceeded", "The maximum number of Tags has been reached.")
    shown = wanted.get("MetadataOptions", {}).get("InstanceMetadataTags") == "enabled"
    for key in tags:
        if key.lower().startswith("aws:"):
            raise RefusedError(
                "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved"
            )
        if shown and not _METADATA_KEY.fullmatch(key):
            message = (
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z...])"
            )
            raise RefusedError("InvalidParameterValue", message)


def check_token(wanted: dict[str, Any]) -> str | None:
    """Return the client token. Raises RefusedError."""
    token = wanted.get("ClientToken")
    if token is not None and not re.fullmatch(rf"[ -~]{{1,{LONGEST_TOKEN}}}", token):
        raise RefusedError("InvalidParameterValue", "Invalid client token")
    return token


def check_fleet(wanted: dict[str, Any]) -> None:
    """Check a request of CreateFleet. Raises RefusedError."""
    overrides = [each for config in wanted["LaunchTemplateConfigs"] for each in config["Overrides"]]
    specifications = [
        config.get("LaunchTemplateSpecification", {}) for config in wanted["LaunchTemplateConfigs"]
    ]
    kinds = {each["ResourceType"] for each in wanted.get("TagSpecifications", [])}
    problems = {
        "this stand-in knows fleets of type instant alone": wanted.get("Type") != "instant",
        f"too many overrides: {len(overrides)}": len(overrides) > MOST_OVERRIDES,
        "The launch template's Version is required": any(
            "Version" not in each for each in specifications
        ),
        "Tags can be given for instance and fleet alone": not kinds <= {"instance", "fleet"},
    }
    for problem, wrong in problems.items():
        if wrong:
            raise RefusedError("InvalidParameterValue", problem)


def read_tags(wanted: dict[str, Any]) -> dict[str, str]:
    """Return the tags of the instance that is asked for."""
    return {
        tag["Key"]: tag["Value"]
        for each in wanted.get("TagSpecifications", [])
        if each["ResourceType"] == "instance"
        for tag in each["Tags"]
    }
