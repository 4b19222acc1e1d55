"""ECR's credential helper on POSIX, with a script before it that keeps what `docker login` stores.

The helper itself answers every `store` with "not implemented": a job's own `docker login` to that
registry would fail. Newer versions can be told to forget the login instead, and then go on with
the job's role, which may not be who the job logged in as.
"""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_SECONDS = 20
"""Seconds that ECR has to answer; without a way to it, the helper would try for minutes."""
# Source of the protocol: docker/docker-credential-helpers, `credentials/credentials.go`. What
# `store` gets as its input is what `get` has to print; "credentials not found in native keychain"
# makes a client go on without.
_SCRIPT = """\
#!/bin/sh
# ECR's credential helper, for this runner's job: keeps what `docker login` stores.
umask 077
kept=KEPT
helper=HELPER
export AWS_ECR_CACHE_DIR="$kept"
name() { sed -e 's,^[[:space:]]*,,; s,^https*://,,; s,/.*,,' | tr -cd 'A-Za-z0-9._:-'; }
case ${1-} in
    store)
        login=$(cat)
        at=$(printf '%s' "$login" | sed -n 's/.*"ServerURL" *: *"\\([^"]*\\)".*/\\1/p' | name)
        [ -n "$at" ] || { echo "no ServerURL"; exit 1; }
        if mkdir -p "$kept" && printf '%s\\n' "$login" >"$kept/new-$$"; then
            mv -f "$kept/new-$$" "$kept/login-$at" && exit
        fi
        echo "cannot write $kept"
        exit 1
        ;;
    erase)
        rm -f "$kept/login-$(name)"
        ;;
    get)
        asked=$(cat)
        login=$kept/login-$(printf '%s' "$asked" | name)
        [ ! -f "$login" ] || exec cat "$login"
        limit=
        ! command -v timeout >/dev/null || limit='timeout SECONDS'
        if found=$(printf '%s' "$asked" | $limit "$helper" get); then
            printf '%s\\n' "$found"
            exit
        fi
        why=$(tail -n 1 "$kept/log/ecr-login.log" 2>/dev/null)
        echo "docker-credential-ecr-login: no login for $asked: ${why:-no answer of ECR}" >&2
        echo "credentials not found in native keychain"
        exit 1
        ;;
    *)
        exec "$helper" "$@"
        ;;
esac
"""


def build_registry_helper(helper: str, kept: Path) -> str | None:
    """Return a script that stands before the program `helper`; None where there can be none.

    `kept` is a folder for logins, and for the helper's cache and log. The script makes it.
    """
    paths = {"KEPT": shlex.quote(str(kept)), "HELPER": shlex.quote(helper)}
    given = {**paths, "SECONDS": str(_SECONDS)}
    # In one pass: a path may hold one of these words.
    return re.sub("|".join(given), lambda found: given[found[0]], _SCRIPT)
