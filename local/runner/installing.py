"""Lay out a runner root as the archive that GitHub publishes would."""

import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PROGRAM = Path(__file__).with_name("program")

_ENTRY = """\
#!{interpreter} -IS
import os, sys
bin = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(bin, "lib"))
from runner_program.{module} import main
main(os.path.dirname(bin))
"""

_CONFIG_SH = """\
#!/bin/sh
if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
    echo "Must not run with sudo"
    exit 1
fi
cd "$(dirname "$0")" || exit 1
if [ "$1" = remove ]; then
    exec ./bin/Runner.Listener "$@"
fi
exec ./bin/Runner.Listener configure "$@"
"""

_RUN_SH = """\
#!/bin/sh
# As GitHub's own: hides every outcome but 2 (again) and 7 (if asked for).
if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
    echo "Must not run interactively with sudo"
    exit 1
fi
cd "$(dirname "$0")" || exit 1
while :; do
    ./bin/Runner.Listener run "$@"
    code=$?
    case $code in
    2 | 3 | 4)
        echo "Restarting runner..."
        sleep 5
        ;;
    7)
        echo "Exiting runner..."
        [ "$ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE" = 1 ] && exit 7
        exit 0
        ;;
    *)
        echo "Exiting runner..."
        exit 0
        ;;
    esac
done
"""


class NoInterpreterError(RuntimeError):
    """No Python that the runner's user could execute."""


def install(
    directory: Path, interpreter: Path | None = None, *, version: str | None = None
) -> Path:
    """Make `directory` a runner root, not yet configured; give it back, absolute.

    `version` is what the program says of itself (else that of the record, 2.336.0).

    It needs nothing of this repository, and its interpreter is one that every user of the machine
    can execute, if there is one. `interpreter` is another
    machine's, for a root that will be used there: `warmup` there compiles what is compiled here.
    """
    if sys.platform == "win32":
        raise NotImplementedError("cannot lay out this root: Windows has local.runner.windows")
    root = directory.absolute()
    package = root / "bin" / "lib" / "runner_program"
    package.mkdir(parents=True, exist_ok=True)
    for source in _PROGRAM.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    if version is not None:
        (package / "version.py").write_text(f"VERSION = {version!r}\n", encoding="utf-8")
    interpreter = interpreter or _interpreter(package)
    for name, module in (("Runner.Listener", "listener"), ("Runner.Worker", "worker")):
        text = _ENTRY.format(interpreter=interpreter, module=module)
        _write_program(root / "bin" / name, text)
    _write_program(root / "config.sh", _CONFIG_SH)
    _write_program(root / "run.sh", _RUN_SH)
    node = root / "externals" / "node20" / "bin"
    node.mkdir(parents=True, exist_ok=True)
    _write_program(node / "node", "#!/bin/sh\necho 'no node in this stand-in' >&2\nexit 127\n")
    return root


def pack(directory: Path) -> Path:
    """Write the archive that GitHub would publish into `directory`, for an image; give its path.

    Its interpreter is /usr/bin/python3, wherever that is.
    """
    archive = directory.absolute() / "actions-runner-linux.tar.gz"
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive, "w:gz") as packed:
        packed.add(install(Path(folder) / "root", Path("/usr/bin/python3")), arcname=".")
    return archive


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _interpreter(package: Path) -> Path:
    """Give the first interpreter that can compile the package, for everyone if possible."""
    found = list(_interpreters())
    for path in sorted(found, key=lambda path: not _executable_by_all(path)):
        # Compiled now: the runner's user may not write into bin/, and would compile every time.
        compiled = subprocess.run(
            [path, "-IS", "-c", _COMPILE, package], stdin=subprocess.DEVNULL, check=False
        )
        if compiled.returncode == 0:
            return path
    raise NoInterpreterError("cannot lay out the runner: no Python 3.9 or later was found")


_COMPILE = """\
import sys
if sys.version_info < (3, 9):
    sys.exit(1)
import compileall, py_compile
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # good in copies of the folder, too
sys.exit(not compileall.compile_dir(sys.argv[1], quiet=2, force=True, invalidation_mode=mode))
"""


def _interpreters() -> Iterator[Path]:
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    for name in ("/usr/bin/python3", "/usr/local/bin/python3", base):
        path = Path(name)
        if path.exists() and len(name) < 100:  # the kernel cuts longer first lines
            yield path.resolve()


def _executable_by_all(path: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents))
