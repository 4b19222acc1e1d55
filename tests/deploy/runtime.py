"""Run a handler as Lambda does: awslambdaric, and a runtime API that gives it events.

Source: AWS, "Using the Lambda runtime API": four paths below /2018-06-01/runtime.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client")
"""The packages of Lambda's own; nothing else of this environment is to be seen."""
PATIENCE = 60.0
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"


class Handler:
    """A handler that runs in a process of its own."""

    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()

    def call(self, event: Any) -> Any:
        """Invoke it; return what it answers. Fails if it raises, or cannot be imported."""
        self.events.put(event)
        kind, answer = self.answers.get(timeout=PATIENCE)  # raises Empty
        assert kind == "response", answer
        return answer


class QuietServer(ThreadingHTTPServer):
    """Says nothing of a client that was killed."""

    def handle_error(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def running(name: str, code: Path, folder: Path, **variables: str) -> Iterator[Handler]:
    """Run the handler `name` of the unpacked zip `code`."""
    handler = Handler()
    client = copy_client(folder / "runtime")
    server = QuietServer(("127.0.0.1", 0), _make_api(handler))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(client),
        "LAMBDA_TASK_ROOT": str(code),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "under-test",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        **variables,
    }
    # Without `site`: the zip must hold all that it needs.
    command = [sys.executable, "-S", "-m", "awslambdaric", name]
    process = subprocess.Popen(
        command, cwd=code, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield handler
    finally:
        process.kill()
        print(process.communicate()[0].decode(errors="replace"))  # pytest shows it
        handler.events.put(None)
        server.shutdown()
        thread.join()
        server.server_close()


def copy_client(folder: Path) -> Path:
    """Copy Lambda's own packages, and nothing else, into a folder."""
    folder.mkdir()
    for name in CLIENT:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / name)
        else:
            shutil.copy(origin, folder)
    return folder


def _make_api(handler: Handler) -> type[BaseHTTPRequestHandler]:
    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            event = handler.events.get()
            if event is None:  # the process has ended
                self.close_connection = True
                return
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Lambda-Runtime-Aws-Request-Id", REQUEST_ID)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:::function:a")
            self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.path.rpartition("/")[2]
            handler.answers.put((kind, json.loads(body)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Api
