"""The programs of the attacks, as a job can run them; each has a limit of time and of processes.

A sleep of some milliseconds is an attack's own pace; nothing waits by it for something to happen.
"""

from __future__ import annotations

_LIMITS = """
import os, resource, signal, sys, time
resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)
end = time.monotonic() + 60

def stay():
    # Until somebody kills this process.
    signal.alarm(60)
    signal.pause()
"""

_DAEMON = """
ready, begun = os.pipe()
if os.fork():
    os.read(ready, 1)
    print("up", flush=True)
    stay()
os.setsid()
if os.fork():
    os._exit(0)
null = os.open(os.devnull, os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(null, stream)
"""

WATCHER = (
    _LIMITS
    + _DAEMON
    + """
os.write(begun, b"x")
while time.monotonic() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if b"TOKEN=" in file.read():
                    open(sys.argv[1], "w").close()
        except OSError:
            pass
    time.sleep(0.02)
"""
)
"""A daemon that looks for a token in the variables of other processes."""

FORKER = (
    _LIMITS
    + _DAEMON
    + """
for hops in range(10**6):
    try:
        if os.fork() and (hops > 2 or os.getppid() == 1):
            os._exit(0)
    except OSError:  # the limit: those that have ended are not collected yet
        pass
    time.sleep(0.001)
    if hops == 20:
        os.write(begun, b"x")
    if time.monotonic() > end:
        break
"""
)
"""Some processes that fork every millisecond, and end then."""

COMPUTER = (
    _LIMITS
    + """
for _ in range(int(sys.argv[1]) if sys.argv[1:] else 8):
    if os.fork() == 0:
        while time.monotonic() < end:
            pass
        os._exit(0)
print("up", flush=True)
stay()
"""
)
"""Processes that compute: as many as it is told, else eight."""

TOUCHER = (
    _LIMITS
    + """
pid, done = int(sys.argv[1]), []

def attempt(name, action):
    try:
        action()
    except OSError:
        return
    done.append(name)

attempt("environment", lambda: open(f"/proc/{pid}/environ", "rb").read(1))
attempt("files", lambda: os.listdir(f"/proc/{pid}/fd"))
attempt("memory", lambda: open(f"/proc/{pid}/mem", "rb"))
attempt("limits", lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
attempt("processors", lambda: os.sched_setaffinity(pid, {0}))
attempt("stop", lambda: os.kill(pid, signal.SIGSTOP))
print("up " + ",".join(done), flush=True)
stay()
"""
)
"""Tries all that one process may do to another; prints what worked."""

DAEMON = _LIMITS + _DAEMON + "os.write(begun, b'x')\nstay()\n"
"""A daemon with a session of its own."""

SCORER = (
    _LIMITS
    + """
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
except OSError:
    pass
print("up " + open("/proc/self/oom_score_adj").read().strip(), flush=True)
stay()
"""
)
"""Makes itself the last process that the kernel would kill, if it may."""

NAMESPACER = (
    _LIMITS
    + """
import ctypes
if os.fork():
    stay()
os.setsid()
if os.fork():
    os._exit(0)
new_user_namespace = 0x10000000
if ctypes.CDLL(None).unshare(new_user_namespace):
    os._exit(1)
mapped = {signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, mapped)
print(os.getpid(), flush=True)
signal.sigwait(mapped)
os.setresgid(1, 1, 1)
os.setresuid(1, 1, 1)
print("up", flush=True)
stay()
"""
)
"""A daemon that has other ids in a user namespace of its own, as newuidmap gives them.

It waits for SIGUSR1, which says that they are given.
"""
