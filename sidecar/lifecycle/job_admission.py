"""Let only those jobs run, and have a role, that the policy beside the token admits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import TokenError

if TYPE_CHECKING:
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.runner.admission import Admission
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.listener import Listener
    from sidecar.tokens.value import RegistrationToken


def make_admission(
    token: RegistrationToken,
    folder: RunnerFolder,
    listener: Listener,
    credentials: JobCredentials,
) -> Admission | None:
    """Make the admission of the runner's job; None without a policy: then every job may run.

    The relay serves nothing to a job from here on, until it is admitted. Raises TokenError.
    """
    if token.policy is None:
        return None
    # Imported when needed: that keeps other starts fast.
    from sidecar.runner.admission import Admission
    from sidecar.runner.job_policy import parse_policy

    try:
        policy = parse_policy(token.policy)
    except ValueError as error:
        raise TokenError(f'cannot use the "policy" that came with the token: it {error}') from None
    credentials.hold()

    def on_decided(refusal: str | None) -> None:
        if refusal is None:
            credentials.release()
        else:
            listener.refuse_job(refusal)

    return Admission(policy, folder, on_decided)
