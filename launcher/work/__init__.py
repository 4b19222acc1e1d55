"""Handle one message of the queue: `Worker.handle`. Start with `worker.py`.

A queued job becomes a launch, and the launch takes its stages (`launcher.launch`). Nothing waits
here: what has to wait is put off, as a new message.
"""

from launcher.demand.message import Message, Poison
from launcher.work.resources import EcsClients, Maxima, PutOff, Rates, Resources
from launcher.work.worker import Worker

__all__ = [
    "EcsClients",
    "Maxima",
    "Message",
    "Poison",
    "PutOff",
    "Rates",
    "Resources",
    "Worker",
]
