"""The floor of a cold start: the least that answers one webhook, of the standard library alone.

    python lambda_floor.py EVENT

It reads one Lambda event from a file, verifies its HMAC, and sends one signed SendMessage by
http.client to AWS_ENDPOINT_URL_SQS. It checks nothing else, logs nothing and tries once: what the
handler takes beyond this is its own. WEBHOOK_SECRET and QUEUE_URL are its settings.
"""

import hashlib
import hmac
import http.client
import json
import os
import sys
import time

HEADERS = "content-type;host;x-amz-date;x-amz-target"


def sign(key: bytes, text: str) -> bytes:
    """Return the HMAC of a text."""
    return hmac.digest(key, text.encode(), "sha256")


def send(body: str) -> int:
    """Send one message, signed by version 4 of AWS's signatures; return the status."""
    secret, region = os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_REGION"]
    host = os.environ["AWS_ENDPOINT_URL_SQS"].removeprefix("http://")
    content = json.dumps({"QueueUrl": os.environ["QUEUE_URL"], "MessageBody": body})
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kind, target = "application/x-amz-json-1.0", "AmazonSQS.SendMessage"
    digest = hashlib.sha256(content.encode()).hexdigest()
    wanted = (
        f"POST\n/\n\ncontent-type:{kind}\nhost:{host}\nx-amz-date:{now}\nx-amz-target:{target}\n"
        f"\n{HEADERS}\n{digest}"
    )
    scope = f"{now[:8]}/{region}/sqs/aws4_request"
    request = hashlib.sha256(wanted.encode()).hexdigest()
    key = ("AWS4" + secret).encode()
    for part in (now[:8], region, "sqs", "aws4_request"):
        key = sign(key, part)
    signature = sign(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{request}").hex()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={HEADERS}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {
        "Content-Type": kind,
        "X-Amz-Date": now,
        "X-Amz-Target": target,
        "Authorization": authorization,
    }
    connection.request("POST", "/", content, headers)
    return connection.getresponse().status


def main(path: str) -> int:
    """Answer one event; print the status."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib takes time to import
        event = json.load(file)
    body = event["body"].encode()
    signature = "sha256=" + hmac.digest(os.environ["WEBHOOK_SECRET"].encode(), body, "sha256").hex()
    if not hmac.compare_digest(signature, event["headers"]["x-hub-signature-256"]):
        return 401
    job = json.loads(body)["workflow_job"]
    return 202 if send(json.dumps({"job_id": job["id"]})) == 200 else 503


if __name__ == "__main__":
    print("answered", main(sys.argv[1]), flush=True)
