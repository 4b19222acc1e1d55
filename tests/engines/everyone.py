"""Have each AWS client print its identity, with the credentials that it finds here.

    python3 everyone.py STS S3 [CLIENT...]

Prints a line `FOUND {"client": …, "role": …, "error": …, "seconds": …}` for each: the role's name,
or null and the error. Each client gets this program's environment, the region, and the URL of STS
(of S3 for rclone).
"""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

PATIENCE = 60.0
"""Seconds that a client may take; the slowest needs 12 until it gives up an address."""
AT_ONCE = 2

BOTO3 = """
import boto3
print(boto3.client("sts").get_caller_identity()["Arn"])
"""
AIOBOTOCORE = """
import asyncio
from aiobotocore.session import get_session
async def main():
    async with get_session().create_client("sts") as sts:
        print((await sts.get_caller_identity())["Arn"])
asyncio.run(main())
"""
RUBY = """
require "aws-sdk-core"
puts Aws::STS::Client.new(endpoint: ENV["AWS_ENDPOINT_URL_STS"]).get_caller_identity.arn
"""
JAVASCRIPT_3 = """
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const sts = new STSClient({ endpoint: process.env.AWS_ENDPOINT_URL_STS });
sts.send(new GetCallerIdentityCommand({})).then((found) => console.log(found.Arn));
"""
JAVASCRIPT_2 = """
const AWS = require("aws-sdk");
const sts = new AWS.STS({ endpoint: process.env.AWS_ENDPOINT_URL_STS });
sts.getCallerIdentity().promise().then((found) => console.log(found.Arn));
"""

PYTHON = ("env", "PYTHONPATH=/opt/clients/python", "python3")
NODE = ("env", "NODE_PATH=/opt/clients/node_modules", "node", "--no-warnings", "--eval")
IDENTITY = ("sts", "get-caller-identity", "--output", "json")
# rclone looks for credentials only if this option is set, whatever the environment has.
S3 = ("--s3-provider", "Other", "--s3-env-auth", "--s3-region", "eu-central-1")


def make_commands(s3):
    """Return each client's name and command."""
    return {
        "boto3": (*PYTHON, "-c", BOTO3),
        "aiobotocore": (*PYTHON, "-c", AIOBOTOCORE),
        "AWS CLI 1": (*PYTHON, "/opt/clients/python/bin/aws", *IDENTITY),
        "AWS CLI 2": ("/usr/bin/aws", *IDENTITY),
        "JavaScript v3": (*NODE, JAVASCRIPT_3),
        "JavaScript v2": (*NODE, JAVASCRIPT_2),
        "rclone (Go)": ("rclone", "lsd", ":s3:", *S3, "--s3-endpoint", s3, "--low-level-retries=1"),
        "Ruby": ("ruby", "-e", RUBY),
    }


def ask(client, argv, sts):
    """Run one client to its end; return its result."""
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nowhere",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",  # AWS CLI 1 and boto3 know no other
        "AWS_ENDPOINT_URL_STS": sts,
        "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1",
        **os.environ,
    }
    begun = time.monotonic()
    try:
        result = subprocess.run(
            argv,
            check=False,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        out, errors = result.stdout, result.stderr
    except subprocess.TimeoutExpired:
        out, errors = "", f"no answer within {PATIENCE:g} s"
    # An ARN of STS, or the only bucket: the S3 of `far.py` gives it the name of the client's role.
    match = re.search(r"assumed-role/([\w-]+)|-1 ([\w-]+)$", out, re.MULTILINE)
    return {
        "client": client,
        "role": (match[1] or match[2]) if match else None,
        "error": None if match else (errors or out).strip()[-300:],
        "seconds": round(time.monotonic() - begun, 2),
    }


def main(sts, s3, *names):
    """Run all clients, or only those that are named."""
    chosen = {name: argv for name, argv in make_commands(s3).items() if not names or name in names}
    with ThreadPoolExecutor(AT_ONCE) as several:
        results = several.map(lambda item: ask(*item, sts), chosen.items())
        for match in results:
            print("FOUND", json.dumps(match), flush=True)


main(*sys.argv[1:])
