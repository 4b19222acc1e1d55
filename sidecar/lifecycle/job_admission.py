"""Let only those jobs run that the policy beside the token admits, and give each its role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import TokenError

if TYPE_CHECKING:
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.lifecycle.job_roles import JobRoles
    from sidecar.runner.admission import Admission
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.listener import Listener
    from sidecar.tokens.value import RegistrationToken


def make_admission(
    token: RegistrationToken,
    folder: RunnerFolder,
    listener: Listener,
    credentials: JobCredentials,
    roles: JobRoles | None = None,
) -> Admission | None:
    """Make the admission of the runner's job; None without policy and rules for roles.

    Then every job may run. The relay serves nothing to a job from here on, until it is admitted and
    its role is known. Raises TokenError.
    """
    if token.policy is None and roles is None:
        return None
    # Imported when needed: that keeps other starts fast.
    from sidecar.runner.admission import Admission
    from sidecar.runner.job_policy import parse_policy

    try:
        policy = parse_policy(token.policy) if token.policy is not None else None
    except ValueError as error:
        raise TokenError(f'cannot use the "policy" that came with the token: it {error}') from None
    credentials.hold()

    def on_decided(refusal: str | None) -> None:
        if refusal is None:
            credentials.release()
        else:
            listener.refuse_job(refusal)

    if roles is None:
        return Admission(policy, folder, on_decided)
    return Admission(
        policy,
        folder,
        on_decided,
        roles.assign,
        names=roles.names,
        needs_answer=policy is not None or roles.roles.any_required,
    )
