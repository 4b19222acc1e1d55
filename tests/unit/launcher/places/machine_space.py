"""Run user data as a machine does, in namespaces of its own: metadata, console, a played systemd.

Started by `unshare --mount --net`; prints as JSON what the machine has said and done. The boots of
a machine are played one after the other: the first runs the user data, each later one the units
that it has enabled. Arguments: the user data, the console's file, a folder of programs that come
first on PATH, the folder where these write, the number of boots.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ADDRESS = "169.254.169.254"
UNITS = Path("/etc/systemd/system")
METADATA = {
    "instance-id": "i-0123456789abcdef0",
    "placement/region": "eu-central-1",
}


class Imds(BaseHTTPRequestHandler):
    """The instance metadata service: version 2 alone."""

    def do_PUT(self):
        """Begin a session."""
        self._answer(200 if self.path == "/latest/api/token" else 404, "session")

    def do_GET(self):
        """Answer a question of the session."""
        if self.headers.get("X-aws-ec2-metadata-token") != "session":
            self._answer(401, "")
            return
        path = self.path.removeprefix("/latest/meta-data/")
        tags = json.loads(os.environ.get("TAGS", "{}"))
        known = METADATA | {f"tags/instance/{key}": value for key, value in tags.items()}
        self._answer(200 if path in known else 404, known.get(path, ""))

    def _answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Say nothing."""


def prepare(console):
    """Give the machine folders, a console and metadata of its own."""
    for folder in ("/opt", "/var/lib", str(UNITS)):
        subprocess.run(["mount", "-t", "tmpfs", "own", folder], check=True)
    subprocess.run(["mount", "--bind", console, "/dev/console"], check=True)
    for words in ("link set lo up", f"addr add {ADDRESS}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    server = HTTPServer((ADDRESS, 80), Imds)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def read_unit(name):
    """Return the values of a unit, by key."""
    lines = (UNITS / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def run_unit(console):
    """Do what systemd does with the runner's unit, from its start to its end."""
    unit = read_unit("runner-machine.service")
    with Path(console).open("ab") as out:
        command = shlex.split(unit["ExecStart"])
        code = subprocess.run(command, check=False, stdout=out, stderr=out).returncode
        how = {"EXIT_CODE": "exited", "EXIT_STATUS": str(code)}
        if code < 0:
            how = {"EXIT_CODE": "killed", "EXIT_STATUS": str(-code)}
        command = shlex.split(unit["ExecStopPost"])
        subprocess.run(command, check=False, stdout=out, stderr=out, env={**os.environ, **how})
    return code


def calls(folder):
    """Return the calls of systemctl."""
    log = Path(folder, "systemctl.log")
    return log.read_text().splitlines() if log.exists() else []


def main():
    """Play the boots; print what came of them."""
    user_data, console, programs, folder, boots = sys.argv[1:]
    prepare(console)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    os.environ["OUT"] = folder
    codes = []
    subprocess.run(["sh", user_data], check=False)
    first = calls(folder)
    if "start --no-block runner-machine.service" in first:
        codes = [run_unit(console) for _ in range(int(boots))]
    units = {path.name: path.read_text() for path in UNITS.iterdir() if path.is_file()}
    print(
        json.dumps(
            {
                "console": Path(console).read_text(),
                "calls": calls(folder),
                "installed": first,
                "codes": codes,
                "units": units,
                "state": sorted(path.name for path in Path("/var/lib/runner-machine").glob("*")),
            }
        )
    )


main()
