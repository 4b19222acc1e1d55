"""A stand-in for PowerShell that understands the agent's job hooks, and nothing else.

    powershell -command ". 'SCRIPT.ps1'"

Where there is no PowerShell (wine has only a program of that name) this one shows what a hook tells
the agent. A line that it does not know is an error, so that no hook is only half played. It runs by
itself, with nothing of this repository beside it.
"""

import re
import sys
import time
from pathlib import Path

TRIES, PAUSE = 20, 0.05
PIPE = re.compile(
    r"\$pipe = New-Object System\.IO\.Pipes\.NamedPipeClientStream\('\.', '([^']+)', 'Out'\)"
)
LINE = re.compile(r'\$line = \[Text\.Encoding\]::UTF8\.GetBytes\("(\w+)`n"\)')
SKIPPED = re.compile(
    r"#.*|try \{|\} catch \{ \}|\$pipe\.(Connect\(1000\)|Write\(\$line, 0, \$line\.Length\)|"
    r"Dispose\(\))|exit \$LASTEXITCODE|"
)


def main() -> int:
    """Play the script; return its exit code."""
    path = Path(sys.argv[2].removeprefix(". ").strip("'"))
    pipe = ""
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if found := PIPE.fullmatch(line.strip()):
            pipe = found[1]
        elif found := LINE.fullmatch(line.strip()):
            send(pipe, found[1])
        elif not SKIPPED.fullmatch(line.strip()):
            print(f"cannot play this line of {path}: {line}", file=sys.stderr)
            return 1
    return 0


def send(pipe: str, word: str) -> None:
    """Write a line to the agent's pipe, which may be taken by another hook for a moment."""
    for _ in range(TRIES):
        try:
            with Path(rf"\\.\pipe\{pipe}").open("wb", buffering=0) as file:
                file.write(f"{word}\n".encode())
        except OSError:
            time.sleep(PAUSE)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
