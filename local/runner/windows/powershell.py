"""A stand-in for PowerShell that understands the agent's job hooks, and nothing else.

    powershell -command ". 'SCRIPT.ps1'"

Where there is no PowerShell (wine has only a program of that name) this one plays a hook: it tells
the agent of the event, asks whether the job is admitted, adds to GITHUB_ENV, and runs the user's
own hook, which may print and exit. What it does not know is an error, so that no hook is only half
played. It runs by itself, with nothing of this repository beside it.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

TRIES, PAUSE = 20, 0.05
PLACES = {"text": "'(?:[^']|'')*'", "texts": "'.*'", "word": r"\w+", "number": r"\d+"}
"""What a place of a statement may hold, by its kind."""

TELL = """\
try {
  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream('.', <pipe:text>, 'Out')
  $pipe.Connect(1000)
  $line = [Text.Encoding]::UTF8.GetBytes("<event:word>`n")
  $pipe.Write($line, 0, $line.Length)
  $pipe.Dispose()
} catch { }
"""
ASK = """\
$answer = ''
try {
  $request = -join (@(<names:texts>) | ForEach-Object {
    $value = [string][Environment]::GetEnvironmentVariable($_)
    $most = if ($_.StartsWith(<long:text>)) { <longest:number> } else { <most:number> }
    $_ + '=' + $value.Substring(0, [Math]::Min($value.Length, $most)) + [char]0
  }) + [char]0
  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream(\
'.', <pipe:text>, 'InOut', 'Asynchronous')
  $pipe.Connect(<connect:number>)
  $bytes = [Text.Encoding]::UTF8.GetBytes($request)
  $pipe.Write($bytes, 0, $bytes.Length)
  $line = (New-Object System.IO.StreamReader($pipe)).ReadLineAsync()
  if ($line.Wait(<patience:number>)) { $answer = [string]$line.Result }
} catch { }
"""
UNANSWERED = """\
if (-not $answer) { $answer = <silence:text> }
"""
WARN = """\
if ($answer.StartsWith(<notice:text>)) {
  Write-Host (<warning:text> + $answer.Substring(<length:number>))
  $answer = <admitted:text>
}
"""
OBEY = """\
if ($answer -cne <admitted:text>) {
  if (-not $answer) { $answer = <silence:text> }
  Write-Host ('::error title=Job not admitted::' + $answer)
  while ($true) {
    Start-Sleep -Seconds <seconds:number>
    try {
      $self = Get-CimInstance Win32_Process -Filter "ProcessId=$PID"
      Stop-Process -Id $self.ParentProcessId -Force
    } catch { }
  }
}
"""
EXPORT = """\
if ($env:GITHUB_ENV -and -not $env:AWS_ACCESS_KEY_ID -and \
(-not $env:<name:word> -or $env:<again:word> -eq <value:text>)) \
{ try { [IO.File]::AppendAllText($env:GITHUB_ENV, <line:text> + "`n") } catch { } }
"""
OWN_HOOK = """\
. <path:text>
if (-not $?) { exit 1 }
"""


def main() -> int:
    """Play the script; return its exit code."""
    return play(Path(sys.argv[2].removeprefix(". ").strip("'")))


def play(path: Path) -> int:
    """Play the statements of a script one after the other; return its exit code."""
    script = path.read_text(encoding="utf-8-sig")
    while script:
        for form, do in STATEMENTS:
            if found := form.match(script):
                script = script[found.end() :]
                code = do({name: unquote(each) for name, each in found.groupdict().items()})
                if code is not None:
                    return code
                break
        else:
            print(f"cannot play this part of {path}: {script}", file=sys.stderr)
            return 1
    return 0


def unquote(text: str) -> str:
    """Return what a literal stands for."""
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def tell(given: dict[str, str]) -> None:
    """Write a line to the agent's pipe, which may be taken by another hook for a moment."""
    for _ in range(TRIES):
        try:
            with Path(rf"\\.\pipe\{given['pipe']}").open("wb", buffering=0) as pipe:
                pipe.write(f"{given['event']}\n".encode())
        except OSError:
            time.sleep(PAUSE)
        else:
            return


ANSWER = [""]
"""What the agent has answered: the variable of the script."""


def ask(given: dict[str, str]) -> None:
    """Ask the agent whether the job is admitted."""
    request = ""
    for name in given["names"].split("', '"):
        most = given["longest" if name.startswith(given["long"]) else "most"]
        request += f"{name}={os.environ.get(name, '')[: int(most)]}\0"
    try:
        with Path(rf"\\.\pipe\{given['pipe']}").open("r+b", buffering=0) as pipe:
            pipe.write(f"{request}\0".encode())
            ANSWER[0] = pipe.read(4096).decode().strip()
    except OSError as error:
        print(error, file=sys.stderr)


def go_on_without(given: dict[str, str]) -> None:
    """Take a missing answer for one that lets the job go on."""
    ANSWER[0] = ANSWER[0] or given["silence"]


def warn(given: dict[str, str]) -> None:
    """Print the warning of an answer that lets the job go on."""
    if ANSWER[0].startswith(given["notice"]):
        print(given["warning"] + ANSWER[0][int(given["length"]) :], flush=True)
        ANSWER[0] = given["admitted"]


def obey(given: dict[str, str]) -> None:
    """Go on if the job is admitted; else wait until somebody ends this."""
    if ANSWER[0] != given["admitted"]:
        reason = ANSWER[0] or given["silence"]
        print(f"::error title=Job not admitted::{reason}", flush=True)
        time.sleep(float(given["seconds"]))
        sys.exit(1)


def export(given: dict[str, str]) -> None:
    """Add a variable to GITHUB_ENV, unless the job has credentials or another value."""
    path, own = os.environ.get("GITHUB_ENV"), os.environ.get(given["name"])
    if path and not os.environ.get("AWS_ACCESS_KEY_ID") and own in (None, "", given["value"]):
        with Path(path).open("a", encoding="utf-8", newline="") as file:
            file.write(f"{given['line']}\n")


def parse(statement: str) -> "re.Pattern[str]":
    """Return the form of a statement; <name:kind> is a place in it."""
    parts = re.split(r"<(\w+):(\w+)>", statement)
    form = re.escape(parts[0])
    for name, kind, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        form += f"(?P<{name}>{PLACES[kind]}){re.escape(text)}"
    return re.compile(form)


STATEMENTS: list[tuple["re.Pattern[str]", Callable[[dict[str, str]], int | None]]] = [
    (re.compile(r"(#.*)?\n"), lambda _: None),
    (parse(TELL), tell),
    (parse(ASK), ask),
    (parse(UNANSWERED), go_on_without),
    (parse(WARN), warn),
    (parse(OBEY), obey),
    (parse(EXPORT), export),
    (parse(OWN_HOOK), lambda given: int(play(Path(given["path"])) != 0)),
    (parse("Write-Host <line:text>\n"), lambda given: print(given["line"], flush=True)),
    (parse("exit <code:number>\n"), lambda given: int(given["code"])),
]
"""Each kind of statement, and what does it; what returns a number ends the script with it."""

if __name__ == "__main__":
    sys.exit(main())
