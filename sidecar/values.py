"""Read and check single values as people write them; each ValueError says what is wrong."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME_LENGTH = 64
"""Characters of a runner's name that GitHub accepts."""
LABEL_LENGTH = 256
POLICY_LENGTH = 2048
"""Characters of a session policy that STS accepts (AssumeRole, `Policy`)."""
SHARED_LENGTH = 64
"""Bytes of SIDECAR_SHARED_DIR: the path of a socket has 107 (unix(7)), and the agent adds to it."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Read `host:port`; the host is an IP address, neither a name nor every address."""
    name, _, port = str(value).rpartition(":")
    try:
        literal = ip_address(name.strip("[]"))
        number = int(port)
    except ValueError:
        message = "must be an IP address and a port"
        raise ValueError(message) from None
    if literal.is_unspecified:
        message = "must be one address: every address would make it reachable from the network"
        raise ValueError(message)
    if not 0 <= number <= 65535:
        message = "has a port outside 0 to 65535"
        raise ValueError(message)
    return Address(str(literal), number)


def parse_address_or_off(value: object) -> Address | None:
    """Read `host:port`; None for `off`."""
    return None if value is None or str(value) == "off" else parse_address(value)


def none_if_off(value: object) -> object:
    """Return None for `off`, and anything else as it is."""
    return None if str(value).lower() == "off" else value


def check_github_url(value: str) -> str:
    """Check the URL of a repository, organization or enterprise; return it without a last slash."""
    url = urlsplit(value)
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname)):
        message = "must begin with https://"
        raise ValueError(message)
    if not url.hostname or url.query or url.fragment or url.username or url.password:
        message = "must be the plain URL of a repository, an organization or an enterprise"
        raise ValueError(message)
    parts = [part for part in url.path.split("/") if part]
    if not 1 <= len(parts) <= 2 or not all(re.fullmatch(r"[\w.-]+", part) for part in parts):
        message = "must name an organization, owner/repository or enterprises/enterprise"
        raise ValueError(message)
    return f"{url.scheme}://{url.netloc}/{'/'.join(parts)}"


def check_github_server(value: str) -> str:
    """Check the URL of a GitHub server, without a path; return it without a last slash."""
    url = urlsplit(value)
    if url.path.strip("/"):
        message = "must be a GitHub's own URL, without owner or repository"
        raise ValueError(message)
    return check_github_url(f"{value.rstrip('/')}/owner").removesuffix("/owner")


def _is_loopback(name: str | None) -> bool:
    try:
        return name == "localhost" or ip_address(name or "").is_loopback
    except ValueError:
        return False


def check_runner_name(value: str) -> str:
    """Check a runner's name; the runner would silently drop one that begins with a hyphen."""
    if not re.fullmatch(rf"[A-Za-z0-9_.][A-Za-z0-9_.-]{{0,{NAME_LENGTH - 1}}}", value):
        message = (
            f"must be 1 to {NAME_LENGTH} letters, digits, '_', '.' or '-', not beginning with '-'"
        )
        raise ValueError(message)
    return value


def check_name_prefix(value: str) -> str:
    """Check the prefix of a runner's name; it leaves room for a unique rest."""
    if len(value) > NAME_LENGTH - 24:
        message = f"must leave room for what makes the name unique: {NAME_LENGTH - 24} at most"
        raise ValueError(message)
    return check_runner_name(value)


QUOTES, TYPESET = "\"'", "\u201c\u201d\u2018\u2019"
"""Quotation marks of shells, and of word processors."""


def strip_quotes(value: str) -> str:
    """Remove one pair of quotation marks around a value, and the blanks around that.

    `docker run --env-file` and tools of its kind keep the quotes of a line, and no value here has
    any. JSON text that holds JSON, with its quotes escaped, becomes what it holds.
    """
    value = value.strip()
    if len(value) < 2 or value[0] != value[-1] or value[0] not in QUOTES:
        return value
    if value[0] not in (inner := value[1:-1]):
        return inner.strip()
    try:
        return str(json.loads(value)).strip()
    except ValueError:
        return value


def has_quotes(value: str) -> bool:
    """Say whether `strip_quotes` removes more of a value than blanks."""
    return strip_quotes(value) != value.strip()


def strip_all_quotes(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return values without the quotes around them, and the names of those that had some.

    A value of which nothing is left is left out.
    """
    quoted = [name for name, value in given.items() if isinstance(value, str) and has_quotes(value)]
    plain = {
        name: strip_quotes(value) if isinstance(value, str) else value
        for name, value in given.items()
    }
    return {name: value for name, value in plain.items() if value != ""}, quoted


def warn_of_quotes(names: Iterable[str]) -> list[str]:
    """Return a line for each variable whose value had quotes around it."""
    return [f"{name} is in quotes: they are no part of its value" for name in names]


def check_quotes(value: str) -> str:
    """Check that a value has no quotation mark that is not closed; return it."""
    if value[:1] in tuple(QUOTES + TYPESET) or value[-1:] in ('"', *TYPESET):
        message = "begins or ends with a quotation mark: write it without quotes"
        raise ValueError(message)
    return value


def split_list(value: str) -> list[str]:
    """Split a list that is separated by commas, or written as a list in JSON."""
    value = value.strip()
    if not value.startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        message = "begins with '[' and is no list of texts in JSON: separate them by commas instead"
        raise ValueError(message)
    return items


def parse_labels(value: object) -> tuple[str, ...]:
    """Read labels, separated by commas or as a list; each is kept once, in order."""
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        message = "must be labels separated by commas"
        raise ValueError(message)
    found = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
    for label in found:
        if {label[0], label[-1]} & set(QUOTES + TYPESET):
            message = "has a label that begins or ends with a quotation mark: leave the quotes out"
            raise ValueError(message)
        if len(label) > LABEL_LENGTH or "," in label or not label.isprintable():
            message = f"has a label that is not {LABEL_LENGTH} printable characters at most"
            raise ValueError(message)
        if label.startswith("-"):
            message = "has a label that begins with '-', which the runner drops"
            raise ValueError(message)
    return found


_REGISTRY = re.compile(
    r"(\d{12}\.dkr[.-]ecr(-fips)?\.[a-z]+(-[a-z0-9]+)+\.[a-z0-9.-]+\.[a-z]+)|public\.ecr\.aws"
    r"|ecr-public\.aws\.com",
    re.ASCII,
)


def parse_registries(value: object) -> tuple[str, ...]:
    """Read hosts of ECR registries, separated by commas or as a list; each is kept once."""
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        message = "must be registries of ECR separated by commas, or off"
        raise ValueError(message)
    found = tuple(dict.fromkeys(_plain_host(item) for item in items if item.strip()))
    for registry in found:
        if not _REGISTRY.fullmatch(registry):
            message = "has a registry that is no host of ECR: only ECR's token opens them"
            raise ValueError(message)
    return found


def _plain_host(text: str) -> str:
    return text.strip().lower().removeprefix("https://").removesuffix("/")


TASK, INSTANCE = "{task}", "{instance}"
"""What stands for the task's own id, or the machine's, in the name of its token parameter."""


def check_parameter_name(value: str) -> str:
    """Check the name or ARN of an SSM parameter; it may hold TASK or INSTANCE."""
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,2048}", put_id(value, "id")):
        message = "must be the name or the ARN of an SSM parameter"
        raise ValueError(message)
    if value.startswith("arn:") and not re.match(r"arn:aws[a-z-]*:ssm:[^:]+:\d*:parameter/", value):
        message = "must be the name or the ARN of an SSM parameter, and is the ARN of another thing"
        raise ValueError(message)
    return value


def put_id(name: str, own_id: str) -> str:
    """Return the name of a token parameter with the id of its task, or of its machine."""
    return name.replace(TASK, own_id).replace(INSTANCE, own_id)


def check_launch_id(value: str) -> str:
    """Check the id of a machine or a task; the names of parameter and runner hold it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        message = "must be the id of a machine or a task"
        raise ValueError(message)
    return value


def check_role_arn(value: str) -> str:
    """Check the ARN of an IAM role, which may have a path."""
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", value, re.ASCII):
        message = "must be the ARN of an IAM role"
        raise ValueError(message)
    return value


def parse_session_policy(value: str) -> str:
    """Read a session policy, which is JSON; return it without extra space."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        message = "must be JSON"
        raise ValueError(message) from error
    if not isinstance(document, dict) or "Statement" not in document:
        message = "must be an IAM policy, with a Statement"
        raise ValueError(message)
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > POLICY_LENGTH:
        message = f"must be {POLICY_LENGTH} characters at most, and is {len(text)}"
        raise ValueError(message)
    return text


def check_argument(value: str) -> str:
    """Check text that becomes one argument of the runner's program."""
    if value.startswith("-") or not value.isprintable():
        message = "must be printable and not begin with '-', which the runner drops"
        raise ValueError(message)
    return value


def check_namespace(value: str) -> str:
    """Check a CloudWatch namespace (PutMetricData, "Namespace")."""
    if not re.fullmatch(r"[A-Za-z0-9._\-/#: ]{1,255}", value) or value.startswith((":", "AWS/")):
        message = "must be letters, digits and ._-/#: and begin with neither ':' nor 'AWS/'"
        raise ValueError(message)
    return value


def check_shared_dir(value: Path) -> Path:
    """Check a folder for bind mounts and sockets: an absolute, short path without ":" and ","."""
    text = str(value)
    if not value.is_absolute() or not text.isprintable() or set(text) & set(":,"):
        message = "must be an absolute path without ':' and ','"
        raise ValueError(message)
    if len(text.encode()) > SHARED_LENGTH:
        message = f"must be {SHARED_LENGTH} bytes at most: a socket's path is bounded"
        raise ValueError(message)
    return Path(os.path.normpath(value))


def lower_case(value: object) -> object:
    """Return text in lower case; what is not text is left to the next check."""
    return value.lower() if isinstance(value, str) else value


def parse_time(value: str) -> datetime:
    """Read a time as GitHub writes it: ISO 8601, with `Z` or an offset such as `-08:00`."""
    return datetime.fromisoformat(value)
