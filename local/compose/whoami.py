"""Ask AWS who this container is, with boto3, which finds its credentials by itself.

The program of the image that the job builds. With `--instance` it knows nothing of ECS, and asks
the instance's metadata, as a program on EC2 does.
"""

import os
import sys

import boto3

if "--instance" in sys.argv:
    os.environ.pop("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", None)
print("I am", boto3.client("sts").get_caller_identity()["Arn"])
