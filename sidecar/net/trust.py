"""Decide which certificates the agent trusts: one rule for all of its calls.

It trusts what any of these brings: the system's store, or what SSL_CERT_FILE and SSL_CERT_DIR name
in its place, as OpenSSL reads them; the authorities that the AWS library brings along; and the
files of ADDED, each of which only one kind of program reads. A company's authority is then enough
in one of these places, and no call is refused that another one of the agent's makes.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

import botocore
import structlog

log = structlog.get_logger()

STORE = ("SSL_CERT_FILE", "SSL_CERT_DIR")
ADDED = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Variables that name a file of certificates, or a folder, to trust beside the system's."""
BROUGHT_ALONG = str(Path(botocore.__file__).parent / "cacert.pem")
"""The authorities that the AWS library brings along: Mozilla's list."""
ADVICE = (
    "if the network reads TLS with an authority of its own, add that to the system's store, or "
    "name its file by SSL_CERT_FILE or AWS_CA_BUNDLE"
)

_DEEPEST = 8
"""Errors that lie within each other."""


def is_trust_variable(name: str) -> bool:
    """Return whether a variable names certificates to trust."""
    return name in (*STORE, *ADDED)


def make_context() -> ssl.SSLContext:
    """Return the TLS context of the agent's calls; it is the same for the same variables."""
    return _make_context(tuple((name, os.environ.get(name, "")) for name in (*STORE, *ADDED)))


@cache
def _make_context(variables: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python 3.13 refuses authorities that curl, OpenSSL and the runner accept: a company's own
    # often lack an extension that the strict check wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    _load(context, "", BROUGHT_ALONG)
    for name, value in variables:
        if name in STORE and value and not os.path.lexists(value.partition(os.pathsep)[0]):
            _log_refusal(name, value, "there is no such file")  # OpenSSL says nothing about it
        if name in ADDED and value:
            _load(context, name, value)
    return context


def _load(context: ssl.SSLContext, name: str, path: str) -> None:
    """Load one file or folder; what cannot be read is named, and adds nothing."""
    is_folder = Path(path).is_dir()
    try:
        context.load_verify_locations(
            cafile=None if is_folder else path, capath=path if is_folder else None
        )
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError too
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        _log_refusal(name, path, str(reason or "unreadable"))


def _log_refusal(name: str, path: str, reason: str) -> None:
    log.warning("trust.file_refused", setting=name, path=path, reason=reason)


def explain_tls(error: BaseException) -> str | None:
    """Say what is wrong with the TLS of a connection; None for any other error."""
    found = _find_tls(error)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        reason = getattr(found, "verify_message", "") or str(found)
        return f"its certificate is not trusted: {reason} ({ADVICE})"
    return f"TLS fails: {found.reason or found}"


def _find_tls(error: BaseException | None) -> ssl.SSLError | None:
    """Return the error of TLS that a library's error hides, if there is one."""
    for _ in range(_DEEPEST):
        if error is None or type(error) in (ssl.SSLError, ssl.SSLCertVerificationError):
            break
        kept = getattr(error, "kwargs", None)  # where botocore's errors have what they are about
        inner = (
            getattr(error, "certificate_error", None),  # aiohttp's errors
            getattr(error, "os_error", None),
            kept.get("error") if isinstance(kept, dict) else None,
            error.__cause__,
        )
        error = next((each for each in inner if isinstance(each, BaseException)), None)
    return error if isinstance(error, ssl.SSLError) else None
