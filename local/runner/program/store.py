"""The files a configured runner keeps in its root, with their byte order mark."""

import json
import os
import sys
from typing import Any

if sys.platform == "win32":
    from . import windows_files as files
else:
    from . import posix_files as files

_BOM = b"\xef\xbb\xbf"
NOT_CONFIGURED = "Not configured. Run config.(sh/cmd) to configure the runner."
SETTINGS, CREDENTIALS, KEY = ".runner", ".credentials", ".credentials_rsaparams"


class Store:
    """Reads keys in whatever case: `configure` writes camelCase, JIT PascalCase and text only."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, name: str) -> str:
        """Give the path of one of the files."""
        return os.path.join(self.root, name)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return os.path.exists(self.path(name))

    def save(self, name: str, content: Any) -> None:
        """Write JSON as the runner does; the key is its owner's alone."""
        text = json.dumps(content, indent=2).replace("\n", os.linesep).encode()
        self.save_raw(name, text if name == KEY and files.SEALS else _BOM + text)

    def save_raw(self, name: str, data: bytes) -> None:
        """Write a file as it is; a key as this system keeps keys."""
        private = name == KEY
        files.write(self.path(name), files.seal(data) if private else data, private)

    def write_program(self, name: str, text: str) -> None:
        """Write a file that everyone may run."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), 0o755)  # noqa: S103 - as the real one

    def load(self, name: str) -> dict[str, Any]:
        """Read a file; keys come back in lower case, at every level."""
        with open(self.path(name), "rb") as file:
            data = file.read()
        text = (files.unseal(data) if name == KEY else data).removeprefix(_BOM)
        return dict(_lower(json.loads(text)))

    def delete(self, name: str) -> None:
        """Delete a file that may be gone already."""
        if self.has(name):
            os.unlink(self.path(name))


def truth(value: object) -> bool:
    """Read a flag that is JSON's or, in a JIT configuration, text."""
    return value is True or str(value).lower() == "true"


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.lower(): _lower(each) for name, each in value.items()}
    return value
