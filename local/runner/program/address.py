"""Find the services of a GitHub."""

from .codes import TerminatedError


class Address:
    """A URL in parts."""

    def __init__(self, url: str) -> None:
        scheme, found, rest = url.partition("://")
        if not found or scheme.lower() not in ("http", "https"):
            raise TerminatedError(f"cannot connect to {url!r}: it must begin with https://")
        self.secure = scheme.lower() == "https"
        place, _, path = rest.partition("/")
        host, colon, port = place.rpartition(":")
        self.host = host.strip("[]") if colon else place
        self.port = int(port) if colon else 443 if self.secure else 80
        self.place = place.lower()
        self.target = "/" + path
        self.path = "/" + path.partition("?")[0].rstrip("/")
        self.origin = f"{scheme.lower()}://{place}"
        self.printed = f"{scheme.lower()}://{self.host}"
        """The origin as the runner prints it: without its port."""

    @property
    def api(self) -> str:
        """The path of the REST calls: anything but github.com has it below /api/v3."""
        return "/api/v3"

    @property
    def scope(self) -> str:
        """The scope as REST paths begin."""
        parts = [part for part in self.path.split("/") if part]
        if len(parts) == 1:
            return f"/orgs/{parts[0]}"
        if len(parts) != 2:
            raise TerminatedError(
                f"'{self.origin}{self.path}' should point to an org or repository."
            )
        return (
            f"/enterprises/{parts[1]}"
            if parts[0].lower() == "enterprises"
            else f"/repos/{parts[0]}/{parts[1]}"
        )
