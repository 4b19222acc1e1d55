"""EC2's control plane, whose machines run a program that the caller gives.

In process with `serving()`. A machine runs the program until it returns (then it shuts down, and
its shutdown behaviour says whether it is terminated) or somebody ends it. `MachineHost.boot` is the
program that really runs its user data, with metadata of its own; `run_for_ever` one that hangs.
What EC2 checks and moto does not is checked here: client tokens, which belong to a zone where a
request names one; user data and tags; templates and their shutdown behaviour; quotas, told apart
from a lack of capacity; ids that are not known, or of another account. Every request and answer is
judged by the library's description of EC2. Put `local.faults` in front of it for answers that fail
or get lost.
"""

from local.ec2.boot import Booted, MachineHost
from local.ec2.checks import LONGEST_USER_DATA, RefusedError
from local.ec2.droughts import Drought
from local.ec2.machines import NO_ROOM, SHUT_DOWN, SPOT, LaunchTemplate, Machine
from local.ec2.plane import ControlPlane
from local.ec2.server import run_for_ever, serving

__all__ = [
    "LONGEST_USER_DATA",
    "NO_ROOM",
    "SHUT_DOWN",
    "SPOT",
    "Booted",
    "ControlPlane",
    "Drought",
    "LaunchTemplate",
    "Machine",
    "MachineHost",
    "RefusedError",
    "run_for_ever",
    "serving",
]
