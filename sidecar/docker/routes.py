"""List every request of the engine's API, and say what strict mode makes of it, and why.

The list is that of the API's descriptions (1.41 and 1.45), of older versions that docker 20.10
still answers, and of podman's own requests that clients need. What is not in it is refused.
Whatever its row says, a request for a container must be for one of the job's (own_containers).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """The ways strict mode treats a request; the later one wins where two rows match."""

    RAW = 0
    JUDGED = 1
    REFUSED = 2


class Route(NamedTuple):
    """One kind of request."""

    method: str
    path: str
    """`{}` stands for a name, which may contain slashes."""
    verdict: Verdict
    reason: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is of this kind."""
        return method == self.method and _PATTERNS[self.path].fullmatch(path) is not None


def _rows(verdict: Verdict, reason: str, *requests: str) -> tuple[Route, ...]:
    return tuple(
        Route(method, path, verdict, reason)
        for method, _, path in (request.partition(" ") for request in requests)
    )


NO_BUILDX = (
    "a build by docker buildx, whose requests to BuildKit cannot be checked; "
    "docker build with DOCKER_BUILDKIT=0 asks for one that can"
)
_RAW, _JUDGED, _REFUSED = Verdict.RAW, Verdict.JUDGED, Verdict.REFUSED

ROUTES: tuple[Route, ...] = (
    *_rows(
        _RAW,
        "it only reads",
        *("GET /_ping", "HEAD /_ping", "GET /version", "GET /info", "GET /events"),
        *("GET /system/df", "GET /containers/json", "GET /containers/{}/json"),
        *("GET /containers/{}/top", "GET /containers/{}/logs", "GET /containers/{}/changes"),
        *("GET /containers/{}/stats", "GET /containers/{}/export", "GET /containers/{}/archive"),
        *("HEAD /containers/{}/archive", "GET /exec/{}/json", "POST /containers/{}/copy"),
        *("GET /images/json", "GET /images/{}/json", "GET /images/{}/history", "GET /images/get"),
        *("GET /images/{}/get", "GET /images/search", "GET /distribution/{}/json"),
        *("GET /networks", "GET /networks/{}", "GET /volumes", "GET /volumes/{}"),
        *("GET /plugins", "GET /plugins/{}/json", "GET /plugins/privileges"),
        *("GET /swarm", "GET /services", "GET /services/{}", "GET /services/{}/logs"),
        *("GET /nodes", "GET /nodes/{}", "GET /tasks", "GET /tasks/{}", "GET /tasks/{}/logs"),
        *("GET /secrets", "GET /secrets/{}", "GET /configs", "GET /configs/{}"),
        *("GET /libpod/{}", "HEAD /libpod/{}"),
    ),
    *_rows(_RAW, "the engine does nothing then", "OPTIONS /{}"),
    *_rows(
        _RAW,
        "it changes nothing but a container's run, whose rights were judged when it was made",
        *("POST /containers/{}/stop", "POST /containers/{}/kill", "POST /containers/{}/pause"),
        *("POST /containers/{}/unpause", "POST /containers/{}/wait", "POST /containers/{}/resize"),
        *("POST /containers/{}/attach", "GET /containers/{}/attach/ws", "POST /exec/{}/start"),
        *("POST /exec/{}/resize", "PUT /containers/{}/archive"),
        *("POST /libpod/containers/{}/stop", "POST /libpod/containers/{}/kill"),
        *("POST /libpod/containers/{}/pause", "POST /libpod/containers/{}/unpause"),
        *("POST /libpod/containers/{}/wait", "POST /libpod/containers/{}/resize"),
        *("POST /libpod/containers/{}/attach", "POST /libpod/containers/{}/init"),
        *("POST /libpod/exec/{}/start", "POST /libpod/exec/{}/resize"),
        "PUT /libpod/containers/{}/archive",
    ),
    *_rows(
        _RAW,
        "it removes",
        *(
            "POST /containers/prune",
            "DELETE /images/{}",
            "POST /images/prune",
            "POST /build/prune",
            "POST /build/cancel",
            "DELETE /networks/{}",
        ),
        *("POST /networks/prune", "DELETE /volumes/{}", "POST /volumes/prune"),
        "DELETE /libpod/{}",
        *("POST /libpod/containers/prune", "POST /libpod/images/prune"),
        *("POST /libpod/networks/prune", "POST /libpod/volumes/prune"),
    ),
    *_rows(
        _RAW,
        "an image has no rights",
        *("POST /images/create", "POST /images/load", "POST /images/{}/push"),
        *("POST /images/{}/tag", "POST /commit", "POST /auth"),
        *("POST /libpod/images/pull", "POST /libpod/images/load", "POST /libpod/images/import"),
        *("POST /libpod/images/{}/push", "POST /libpod/images/{}/tag"),
        *("POST /libpod/images/{}/untag", "POST /libpod/commit"),
    ),
    *_rows(
        _RAW,
        "the engine asks the client by it for a build's files; it takes no request",
        "POST /session",
    ),
    *_rows(
        _JUDGED,
        "the container must be the job's; the engine connects none to the host's network",
        *("POST /networks/{}/connect", "POST /networks/{}/disconnect"),
        *("POST /libpod/networks/{}/connect", "POST /libpod/networks/{}/disconnect"),
    ),
    *_rows(
        _JUDGED,
        "by its body",
        *("POST /containers/create", "POST /libpod/containers/create"),
        *("POST /containers/{}/exec", "POST /libpod/containers/{}/exec"),
        *("POST /volumes/create", "POST /libpod/volumes/create"),
        *("POST /networks/create", "POST /libpod/networks/create"),
    ),
    *_rows(
        _JUDGED,
        "it may change the restart policy, by which folders are mounted again",
        "POST /containers/{}/update",
    ),
    *_rows(
        _JUDGED,
        "before API 1.24 its body gives a container new rights; the folders are mounted now",
        *("POST /containers/{}/start", "POST /containers/{}/restart"),
        *("POST /libpod/containers/{}/start", "POST /libpod/containers/{}/restart"),
    ),
    *_rows(
        _JUDGED,
        "a name counts as the job's from when the engine has given it until it is removed",
        *("POST /containers/{}/rename", "POST /libpod/containers/{}/rename"),
        "DELETE /containers/{}",
    ),
    *_rows(_JUDGED, "by its query", "POST /build", "POST /libpod/build"),
    *_rows(
        _REFUSED,
        NO_BUILDX,
        "POST /grpc",
    ),
    *_rows(
        _REFUSED,
        "a plugin has the rights that it asks for",
        *("DELETE /plugins/{}", "POST /plugins/pull", "POST /plugins/create"),
        *("POST /plugins/{}/enable", "POST /plugins/{}/disable", "POST /plugins/{}/push"),
        *("POST /plugins/{}/upgrade", "POST /plugins/{}/set"),
    ),
    *_rows(
        _REFUSED,
        "a swarm makes containers without a create request",
        *("POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "POST /swarm/update"),
        *("GET /swarm/unlockkey", "POST /swarm/unlock", "POST /services/create"),
        *("POST /services/{}/update", "DELETE /services/{}", "DELETE /nodes/{}"),
        *("POST /nodes/{}/update", "POST /secrets/create", "DELETE /secrets/{}"),
        *("POST /secrets/{}/update", "POST /configs/create", "DELETE /configs/{}"),
        *("POST /configs/{}/update", "PUT /volumes/{}"),
    ),
    *_rows(
        _REFUSED,
        "the engine reads and writes a checkpoint in any folder of its machine",
        *("GET /containers/{}/checkpoints", "POST /containers/{}/checkpoints"),
        "DELETE /containers/{}/checkpoints/{}",
    ),
    *_rows(_REFUSED, "the engine's own memory", "GET /debug/{}"),
    *_rows(
        _REFUSED,
        "podman makes containers without a create request",
        *("POST /libpod/play/kube", "POST /libpod/kube/play", "POST /libpod/pods/create"),
        "POST /libpod/containers/{}/restore",
    ),
)
"""All kinds of requests."""

_PATTERNS = {
    path: re.compile(".+".join(re.escape(part) for part in path.split("{}")))
    for path in {route.path for route in ROUTES}
}


def find_route(method: str, path: str) -> Route | None:
    """Return the strictest row for a request; None: there is no such request."""
    found = [route for route in ROUTES if route.matches(method, path)]
    return max(found, key=lambda route: route.verdict.value, default=None)
