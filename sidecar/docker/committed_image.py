"""Commit a container to an image that has nothing of what the proxy added to the container.

The engine gives an image every variable of its container that the request does not set, and no
request unsets one. A name without a value is no way out: other runtimes refuse such an image,
builds and SDKs take it for an empty one, and older engines keep the container's whole configuration
in the image beside the new one. So the image is made twice: by the engine, then anew from its
layers with a configuration that is put right. Layers that the engine has are not sent.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

import structlog

from sidecar.docker import credential_variables
from sidecar.docker.engine import EngineError
from sidecar.docker.json_documents import parse_object, serialize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sidecar.docker.engine import Engine

log = structlog.get_logger()

_TAGS = ("repo", "tag")
_JSON, _ARCHIVE = "application/json", "application/x-tar"
_METADATA = re.compile(
    r"(?:/bin/sh -c #\(nop\)\s+)?"
    r"(?:ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL|USER|"
    r"VOLUME)\b.*",
    re.DOTALL,
)
"""Instructions that make no layer."""
_FIELDS = {
    "architecture": "Architecture",
    "variant": "Variant",
    "os": "Os",
    "os.version": "OsVersion",
    "author": "Author",
    "created": "Created",
    "docker_version": "DockerVersion",
    "container": "Container",
    "container_config": "ContainerConfig",
    "config": "Config",
}
"""The fields of an image's document, and their names in the engine's description."""


async def commit(
    engine: Engine,
    query: str,
    body: bytes,
    config: object,
    originals: Mapping[str, str | None],
) -> str:
    """Commit as the request with this query and body asks; return the image's id.

    `config` is the container's, which the engine takes whole if the body has none. `originals` are
    the variables that the proxy has changed, with the values before; None: there was none. Raises
    EngineError as the engine does, or UnreadableBody.
    """
    fields = parse_qsl(query, keep_blank_values=True)
    untagged = urlencode([(name, value) for name, value in fields if name not in _TAGS])
    if body.strip() in (b"", b"null"):  # unless the client changes something
        body = json.dumps(_clean(config, originals, changed=True)).encode()
    image = first = await _commit(engine, untagged, restore(body, originals))
    try:
        image = await _make_anew(engine, first, originals)
    except (EngineError, KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("docker.commit_unclean", image=first, reason=str(error)[:256])
        await _remove(engine, first)
        image = first = await _commit(engine, untagged, restore(body, originals, empty=True))
    try:
        await _tag(engine, image, dict(reversed(fields)))
    except EngineError:
        await _remove(engine, image)  # the engine makes none if it cannot be named so
        raise
    finally:
        if image != first:
            await _remove(engine, first)
    return image


async def _commit(engine: Engine, query: str, body: bytes) -> str:
    answer = await engine.send(f"/commit?{query}", body, _JSON, deadline=None)
    try:
        return str(json.loads(answer)["Id"])
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{engine.host} named no image") from error


def restore(body: bytes, originals: Mapping[str, str | None], *, empty: bool = False) -> bytes:
    """Return the body of a commit that sets these variables to what they were.

    Those that were not there become names without a value: with that, the engine does not take the
    container's. With `empty` they become empty; a region stays then, because SDKs take an empty one
    for a region.
    """
    fields = parse_object(body)
    env = fields.get_field("Env", list) or []
    given = credential_variables.parse_env(env)
    missing = {name: value for name, value in originals.items() if name not in given}
    set_again = {name: value for name, value in missing.items() if value is not None}
    bare = [name for name, value in missing.items() if value is None]
    if empty:
        set_again |= {name: "" for name in bare if not name.endswith("_REGION")}
        bare = []
    fields.set_field("Env", credential_variables.merge_env(env, set_again, bare))
    return serialize(fields)


async def _make_anew(engine: Engine, first: str, originals: Mapping[str, str | None]) -> str:
    """Make the image anew without the variables; return its id. Raises EngineError."""
    described = await engine.get(f"/images/{quote(first, safe=':')}/json")
    history = await engine.get(f"/images/{quote(first, safe=':')}/history")
    document = json.dumps(describe(described, history, originals)).encode()
    digest = hashlib.sha256(document).hexdigest()
    archive = _pack(digest, document, len(described["RootFS"]["Layers"]))
    await engine.send("/images/load?quiet=1", archive, _ARCHIVE, deadline=None)
    made = await engine.get(f"/images/sha256:{digest}/json")  # the answer is 200 in any case
    return str(made["Id"])


async def _tag(engine: Engine, image: str, fields: Mapping[str, str]) -> None:
    if fields.get("repo"):
        query = urlencode({name: fields[name] for name in _TAGS if fields.get(name)})
        await engine.send(f"/images/{quote(image, safe=':')}/tag?{query}", b"", _JSON)


async def _remove(engine: Engine, image: str) -> None:
    try:
        await engine.delete(f"/images/{quote(image, safe=':')}?noprune=1")
    except EngineError as error:
        log.warning("docker.commit_unclean", image=image, reason=str(error)[:256])


# ---- the image's document ----------------------------------------------------------------------


def describe(
    described: dict[str, Any],
    history: Iterable[dict[str, Any]],
    originals: Mapping[str, str | None],
) -> dict[str, Any]:
    """Return an image's document, by the engine's description of one, without the variables."""
    document = {name: described[field] for name, field in _FIELDS.items() if described.get(field)}
    # The first has what the request asked for; the other is the container's, with its values.
    document["config"] = _clean(document["config"], originals, changed=False)
    if "container_config" in document:
        document["container_config"] = _clean(document["container_config"], originals, changed=True)
    layers = described["RootFS"]["Layers"]
    document["rootfs"] = {"type": "layers", "diff_ids": layers}
    if steps := _read_history(history, len(layers)):
        document["history"] = steps
    return document


def _clean(config: object, originals: Mapping[str, str | None], *, changed: bool) -> dict[str, Any]:
    """Return a configuration without the variables; `changed`: it has the proxy's values."""
    config = config if isinstance(config, dict) else {}
    env = []
    for entry in config.get("Env") or ():
        name, equals, _ = str(entry).partition("=")
        original = originals.get(name)
        if changed and name in originals:
            env += [] if original is None else [f"{name}={original}"]
        elif equals or name not in originals:
            env.append(entry)
    return {**config, "Env": env}


def _read_history(history: Iterable[dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    """Return an image's history, oldest first; nothing if its layers cannot be told in it.

    The engine does not say which of its steps made a layer, and a layer may have no size.
    """
    steps = list(reversed(list(history)))
    with_layer = [bool(step.get("Size")) for step in steps]
    if sum(with_layer) != layers:
        with_layer = [
            bool(step.get("Size")) or not _METADATA.fullmatch(str(step.get("CreatedBy")))
            for step in steps
        ]
    if sum(with_layer) != layers:
        return []
    return [
        {
            "created": datetime.fromtimestamp(int(step.get("Created") or 0), UTC).isoformat(),
            "created_by": str(step.get("CreatedBy") or ""),
            **({"comment": step["Comment"]} if step.get("Comment") else {}),
            **({} if layer else {"empty_layer": True}),
        }
        for step, layer in zip(steps, with_layer, strict=True)
    ]


def _pack(digest: str, document: bytes, layers: int) -> bytes:
    """Return an archive of an image whose layers the engine has: it looks for no files of them."""
    manifest = {
        "Config": f"{digest}.json",
        "RepoTags": None,
        "Layers": [f"{number}/layer.tar" for number in range(layers)],
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (
            (f"{digest}.json", document),
            ("manifest.json", json.dumps([manifest]).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
