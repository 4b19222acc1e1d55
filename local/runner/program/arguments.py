"""The command line, read as actions/runner reads it (`CommandLineParser`, `CommandSettings`)."""

import os
from typing import Optional

_PREFIX = "ACTIONS_RUNNER_INPUT_"
_GENERIC = ("help", "version", "commit", "check")
_CONFIGURE = """
    disableupdate ephemeral generateserviceconfig replace runasservice unattended
    no-default-labels auth labels monitorsocketaddress name pat runnergroup token url
    username windowslogonaccount windowslogonpassword work
"""
_VALID = {
    "configure": tuple(_CONFIGURE.split()),
    "remove": ("token", "pat", "local"),
    "run": ("once", "jitconfig", "startuptype"),
    "warmup": (),
}


class Arguments:
    """Commands stand before the first `--`; after it come flags and options with a value."""

    def __init__(self, words: list[str]) -> None:
        self.commands: list[str] = []
        self._flags: list[str] = []
        self._options: dict[str, str] = {}
        self._read(words)
        self._inputs = _take_inputs()

    def _read(self, words: list[str]) -> None:
        pending: Optional[str] = None
        begun = False
        for word in words:
            begun = begun or word.startswith("--")
            if not begun:
                self.commands.append(word.strip())
            elif word.startswith("--") and len(word) > 2:
                if pending is not None:
                    self._flags.append(pending.lower())
                pending = word[2:].strip()
            elif not word.startswith("-") and pending and pending.lower() not in self._options:
                self._options[pending.lower()] = word
                pending = None
            # anything else is dropped: a second value, and every value that begins with "-"
        if pending is not None:
            self._flags.append(pending.lower())

    @property
    def command(self) -> str:
        """The command, or "" if there is none or more than one."""
        if len(self.commands) == 1 and self.commands[0].lower() in _VALID:
            return self.commands[0].lower()
        return ""

    def unknown(self) -> list[str]:
        """Give what is not understood."""
        commands = [word for word in self.commands if word.lower() not in _VALID]
        if commands or not self.command:
            return commands
        valid = _VALID[self.command]
        flags = [each for each in self._flags if each not in valid and each not in _GENERIC]
        return flags + [each for each in self._options if each not in valid]

    def flag(self, name: str) -> bool:
        """Whether a flag is given; in the environment only the word true counts."""
        return name in self._flags or self._inputs.get(name, "").lower() == "true"

    def option(self, name: str) -> str:
        """Give an option's value, "" without one. The command line wins."""
        return self._options.get(name) or self._inputs.get(name, "")


def _take_inputs() -> dict[str, str]:
    inputs = {}
    for name in list(os.environ):
        if name.upper().startswith(_PREFIX):
            value = os.environ.pop(name).strip()
            if value:
                inputs[name[len(_PREFIX) :].lower()] = value
    return inputs
