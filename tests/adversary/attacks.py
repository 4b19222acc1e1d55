"""The programs of the attacks, as a job can run them; each has a limit of time and of processes."""

from __future__ import annotations

_LIMITS = """
import os, random, resource, signal, sys, time
signal.alarm(60)
resource.setrlimit(resource.RLIMIT_NPROC, (120, 120))
for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)
end = time.monotonic() + 60
"""

FORKER = (
    _LIMITS
    + """
found = sys.argv[1]

def look_for_token():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if b"TOKEN=" in file.read():
                    open(found, "w").close()
        except OSError:
            pass

if os.fork():
    print("up", flush=True)
    time.sleep(60)
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(null, stream)
while time.monotonic() < end:
    random.seed()
    try:
        forked = os.fork()
    except OSError:
        forked = 0
    if forked and random.random() > 0.2:
        os._exit(0)
    if random.random() < 0.05:
        look_for_token()
"""
)
"""Forks all the time, each process ends at once; looks for a token in other processes' variables."""

SLEEPER = _LIMITS + "print('up', flush=True)\ntime.sleep(60)\n"

COMPUTER = (
    _LIMITS
    + """
for _ in range(20):
    if os.fork() == 0:
        while time.monotonic() < end:
            pass
        os._exit(0)
print("up", flush=True)
time.sleep(60)
"""
)
"""Twenty processes that compute."""

DAEMON = (
    _LIMITS
    + """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    time.sleep(60)
    os._exit(0)
os.wait()
print("up", flush=True)
time.sleep(60)
"""
)
"""Starts a daemon with a session of its own."""
