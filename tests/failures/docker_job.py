"""Use docker as a step of a job does: make a volume and a container, and start that.

It goes by DOCKER_HOST and takes any answer, or none.
"""

import http.client
import json
import os
import socket


class Connection(http.client.HTTPConnection):
    """A connection to the engine's socket."""

    def connect(self):
        """Connect to the socket of DOCKER_HOST."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))


def post(path, body=None):
    """Send a request; return what the engine says, or nothing."""
    connection = Connection("docker", timeout=10)
    try:
        data = json.dumps(body) if body is not None else None
        connection.request("POST", path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        print(path, answer.status, text[:500])
        return json.loads(text) if text.startswith(b"{") else {}
    except (OSError, http.client.HTTPException) as error:
        print(path, type(error).__name__)
        return {}
    finally:
        connection.close()


post("/volumes/create", {"Name": "data"})
made = post("/containers/create", {"Image": "x", "Cmd": ["true"]})
if "Id" in made:
    post(f"/containers/{made['Id']}/start")
