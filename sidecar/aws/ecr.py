"""Name the private ECR registry of an account in a region.

Source: AWS General Reference, "Amazon ECR endpoints"; the domains are those of botocore's
partitions.
"""

from __future__ import annotations

import json
import re

_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}
"""The domain of a partition, by the beginning of its regions' names."""
_DOMAIN = "amazonaws.com"
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]+)+", re.ASCII)


def name_registry(account: str, region: str) -> str | None:
    """Return the registry's host; None if these are no account and no region."""
    if not _ACCOUNT.fullmatch(account) or not _REGION.fullmatch(region):
        return None
    found = [domain for beginning, domain in _DOMAINS.items() if region.startswith(beginning)]
    return f"{account}.dkr.ecr.{region}.{(found or [_DOMAIN])[0]}"


def registry_of_arn(arn: str) -> str | None:
    """Return the registry of the account and the region in an ARN, such as a task's."""
    parts = arn.split(":")
    return name_registry(parts[4], parts[3]) if len(parts) > 5 else None


def registry_of_document(document: str | None) -> str | None:
    """Return the registry of the account and the region in an instance's identity document."""
    try:
        facts = json.loads(document or "")
        return name_registry(str(facts["accountId"]), str(facts["region"]))
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
