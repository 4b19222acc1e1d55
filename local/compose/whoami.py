"""Ask AWS who this container is, with boto3, which finds its credentials by itself.

The image that the job builds runs it. With `--instance` it removes what ECS set, and asks the
instance's metadata, as a program on EC2 does.
"""

import os
import sys

import boto3

if "--instance" in sys.argv:
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED"):
        os.environ.pop(name, None)
print("I am", boto3.client("sts").get_caller_identity()["Arn"])
