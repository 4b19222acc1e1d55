"""The files a step talks to the runner with: GITHUB_ENV, GITHUB_PATH and their like."""

import os
from collections.abc import Iterator

_FILES = {
    "GITHUB_ENV": "set_env",
    "GITHUB_PATH": "add_path",
    "GITHUB_OUTPUT": "set_output",
    "GITHUB_STATE": "save_state",
    "GITHUB_STEP_SUMMARY": "step_summary",
}


class FileCommands:
    """Fresh files for each step; what they held goes into the environment of the next ones."""

    def __init__(self, temp: str) -> None:
        self._folder = os.path.join(temp, "_runner_file_commands")
        self._paths: dict[str, str] = {}
        self.added_paths: list[str] = []
        """What steps have put before PATH, the newest first."""

    def make_files(self, environment: dict[str, str]) -> dict[str, str]:
        """Give the environment of the next step."""
        os.makedirs(self._folder, exist_ok=True)
        mark = os.urandom(16).hex()
        for variable, name in _FILES.items():
            path = os.path.join(self._folder, f"{name}_{mark}")
            with open(path, "wb"):
                self._paths[variable] = path
        return {**environment, **self._paths}

    def summary(self) -> bytes:
        """Give the summary that the step wrote."""
        try:
            with open(self._paths["GITHUB_STEP_SUMMARY"], "rb") as file:
                return file.read()
        except OSError:
            return b""

    def take_results(self, environment: dict[str, str]) -> list[str]:
        """Add what the step wrote to `environment`; return what was wrong with it."""
        errors = []
        added = [line for line in self._lines("GITHUB_PATH") if line]
        self.added_paths[:0] = reversed(added)
        try:
            for name, value in _pairs(self._lines("GITHUB_ENV")):
                if name.upper().startswith(("GITHUB_", "RUNNER_")) or name == "NODE_OPTIONS":
                    errors.append(
                        f"Can't store {name} output parameter using '$GITHUB_ENV' command."
                    )
                else:
                    environment[name] = value
        except ValueError as error:
            errors.append(f"Unable to process file command 'env' successfully. {error}")
        for path in self._paths.values():
            if os.path.exists(path):  # the step may have done it itself
                os.unlink(path)
        return errors

    def _lines(self, variable: str) -> list[str]:
        try:
            with open(self._paths[variable], encoding="utf-8-sig", errors="replace") as file:
                return file.read().splitlines()
        except OSError:
            return []


def _pairs(lines: list[str]) -> list[tuple[str, str]]:
    pairs = []
    rest = iter(lines)
    for line in rest:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals > 0 and (heredoc < 0 or equals < heredoc):
            pairs.append((line[:equals], line[equals + 1 :]))
        elif heredoc > 0:
            pairs.append((line[:heredoc], _until(line[heredoc + 2 :], rest)))
        else:
            raise ValueError(f"Invalid format '{line}'")
    return pairs


def _until(delimiter: str, rest: Iterator[str]) -> str:
    held: list[str] = []
    for line in rest:
        if line == delimiter:
            return "\n".join(held)
        held.append(line)
    raise ValueError(f"Invalid value. Matching delimiter not found '{delimiter}'")
