"""Build the zip for a target, check it, and put it into the bucket of the code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.deploy import bundle, compiled, inspection, wheels
from launcher.deploy.aws import code_of
from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from launcher.deploy.aws import Account
    from launcher.deploy.bundle import Bundle
    from launcher.deploy.target import Target


def build(target: Target, path: Path) -> Bundle:
    """Build the zip at `path`, and check it. Raises LaunchError with all that is wrong."""
    with tempfile.TemporaryDirectory(prefix="launcher-wheels-") as folder:
        files = bundle.collect(wheels.download(target, Path(folder)))
    if (python := compiled.find_python(target)) is not None:
        files |= compiled.compile_sources(files, python)
    made = bundle.pack(files, path)
    if problems := inspection.inspect(path, files, target):
        raise LaunchError(Exit.REFUSED, "cannot use the zip: " + "; ".join(problems[:10]))
    return made


def upload(account: Account, bucket: str | None, made: Bundle) -> tuple[str, str]:
    """Put the zip into the bucket, which is made if none is named; return bucket and key."""
    name = bucket or f"runner-launcher-{account.id}-{account.region}"
    if bucket is None:
        _make_bucket(account, name)
    key = f"runner-launcher/{made.sha256}.zip"
    account.call(
        "s3",
        "put_object",
        f"cannot put the zip into the bucket {name}",
        Bucket=name,
        Key=key,
        Body=made.path.read_bytes(),
        ExpectedBucketOwner=account.id,  # the name can be guessed, so another may own it
    )
    return name, key


def _make_bucket(account: Account, name: str) -> None:
    place: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
    action = f"cannot make the bucket {name}"
    try:
        account.call(
            "s3",
            "create_bucket",
            action,
            Bucket=name,
            **({} if account.region == "us-east-1" else place),
        )
    except LaunchError as error:
        if code_of(error) != "BucketAlreadyOwnedByYou":
            raise
    everything = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    account.call(
        "s3",
        "put_public_access_block",
        action,
        Bucket=name,
        PublicAccessBlockConfiguration=everything,
        ExpectedBucketOwner=account.id,
    )
