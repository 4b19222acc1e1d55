"""The scopes of runners: a repository, an organization or an enterprise."""

from dataclasses import dataclass
from urllib.parse import urlsplit


class NoScopeError(ValueError):
    """A text that names no repository, organization or enterprise."""


@dataclass(frozen=True)
class Scope:
    """`kind` is repos, orgs or enterprises; names are kept as they were written."""

    kind: str
    owner: str
    repository: str = ""

    @classmethod
    def of_path(cls, path: str) -> "Scope":
        """Read `/repos/o/r`, `/orgs/o` or `/enterprises/e`, as REST paths begin."""
        match path.strip("/").split("/"):
            case ["repos", owner, repository] if owner and repository:
                return cls("repos", owner, repository)
            case ["orgs" | "enterprises" as kind, owner] if owner:
                return cls(kind, owner)
        raise NoScopeError(f"not a scope: {path!r} (as /repos/octo/demo or /orgs/octo)")

    @classmethod
    def of_url(cls, url: str) -> "Scope":
        """Read the URL that `configure` is given: `…/o/r`, `…/o` or `…/enterprises/e`."""
        match [part for part in urlsplit(url).path.split("/") if part]:
            case ["enterprises", owner]:
                return cls("enterprises", owner)
            case [owner, repository]:
                return cls("repos", owner, repository)
            case [owner]:
                return cls("orgs", owner)
        raise NoScopeError(f"not a repository, organization or enterprise: {url!r}")

    @property
    def path(self) -> str:
        """The scope as REST paths begin."""
        return "/" + "/".join(part for part in (self.kind, self.owner, self.repository) if part)

    @property
    def key(self) -> str:
        """The scope as it is compared: GitHub's names know no case."""
        return self.path.lower()

    def holds(self, repository: str) -> bool:
        """Whether a job of `owner/name` may run on a runner registered here; "" fits all."""
        if not repository or self.kind == "enterprises":
            return True
        owner, _, name = repository.lower().partition("/")
        if self.kind == "orgs":
            return owner == self.owner.lower()
        return (owner, name) == (self.owner.lower(), self.repository.lower())
