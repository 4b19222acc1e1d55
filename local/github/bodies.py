"""Answers in the words of GitHub's OpenAPI description. Nothing here knows HTTP."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from local.github.apps import App, Installation
from local.github.runners import Runner
from local.github.tokens import Token

DOCS = "https://docs.github.com/rest"


def moment(seconds: float, offset_minutes: int = 0) -> str:
    """Write a time with its offset, as `2026-01-22T12:13:35.123-08:00`."""
    zone = timezone(timedelta(minutes=offset_minutes))
    return datetime.fromtimestamp(seconds, zone).isoformat(timespec="milliseconds")


def utc(seconds: float) -> str:
    """Write a time as most of GitHub's answers do: whole seconds and a Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def error(status: int, message: str, page: str = DOCS) -> dict[str, Any]:
    """Give the schema `basic-error`."""
    return {"message": message, "documentation_url": page, "status": str(status)}


def runner_token(token: Token, offset_minutes: int) -> dict[str, Any]:
    """Give the schema `authentication-token`, as registration- and remove-token answer."""
    return {"token": token.value, "expires_at": moment(token.expires_at, offset_minutes)}


def runner(each: Runner, *, online: bool) -> dict[str, Any]:
    """Give the schema `runner`."""
    return {
        "id": each.id,
        "runner_group_id": each.group_id,
        "name": each.name,
        "os": each.operating_system,
        "status": "online" if online else "offline",
        "busy": each.busy,
        "ephemeral": each.ephemeral,
        "version": each.version or None,
        "labels": [
            {"id": label.id, "name": label.name, "type": label.kind} for label in each.labels
        ],
    }


def runners(page: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
    """Give one page of the list."""
    return {"total_count": total, "runners": list(page)}


def jit_config(described: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Give the answer of generate-jitconfig; `files` are the runner's own, by name."""
    import json

    blob = {name: base64.b64encode(content).decode() for name, content in files.items()}
    encoded = base64.b64encode(json.dumps(blob).encode()).decode()
    return {"runner": dict(described), "encoded_jit_config": encoded}


def account(login: str, kind: str, api: str, site: str) -> dict[str, Any]:
    """Give the schema `simple-user`, which organizations also have."""
    user = f"{api}/users/{login}"
    number = sum(login.encode()) + 1
    return {
        "login": login,
        "id": number,
        "node_id": base64.b64encode(f"04:User{number}".encode()).decode(),
        "avatar_url": f"{site}/images/{login}.gif",
        "gravatar_id": "",
        "url": user,
        "html_url": f"{site}/{login}",
        "followers_url": f"{user}/followers",
        "following_url": f"{user}/following{{/other_user}}",
        "gists_url": f"{user}/gists{{/gist_id}}",
        "starred_url": f"{user}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{user}/subscriptions",
        "organizations_url": f"{user}/orgs",
        "repos_url": f"{user}/repos",
        "events_url": f"{user}/events{{/privacy}}",
        "received_events_url": f"{user}/received_events",
        "type": kind,
        "site_admin": False,
    }


def app(each: App, api: str, site: str) -> dict[str, Any]:
    """Give the schema `integration`."""
    return {
        "id": each.id,
        "slug": each.slug,
        "client_id": each.client_id,
        "node_id": base64.b64encode(f"03:App{each.id}".encode()).decode(),
        "owner": account("octo", "Organization", api, site),
        "name": each.slug,
        "description": "",
        "external_url": site,
        "html_url": f"{site}/apps/{each.slug}",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "permissions": dict(each.permissions),
        "events": list(each.events),
        "installations_count": len(each.installations),
    }


def installation(app: App, each: Installation, api: str, site: str, now: float) -> dict[str, Any]:
    """Give the schema `installation`."""
    owner = account(each.account, each.account_type, api, site)
    return {
        "id": each.id,
        "account": owner,
        "access_tokens_url": f"{api}/app/installations/{each.id}/access_tokens",
        "repositories_url": f"{api}/installation/repositories",
        "html_url": f"{site}/organizations/{each.account}/settings/installations/{each.id}",
        "app_id": app.id,
        "client_id": app.client_id,
        "app_slug": app.slug,
        "target_id": owner["id"],
        "target_type": each.account_type,
        "repository_selection": "selected" if each.repositories else "all",
        "permissions": dict(each.permissions),
        "events": [],
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "created_at": utc(now - 86400),
        "updated_at": utc(now - 86400),
        "suspended_at": None if each.suspended_at is None else utc(each.suspended_at),
        "suspended_by": None if each.suspended_at is None else owner,
    }


def installation_token(token: Token, each: Installation, offset: int) -> dict[str, Any]:
    """Give the schema `installation-token`."""
    expires = moment(token.expires_at, offset) if offset else utc(token.expires_at)
    return {
        "token": token.value,
        "expires_at": expires,
        "permissions": dict(token.permissions),
        "repository_selection": "selected" if each.repositories else "all",
    }
