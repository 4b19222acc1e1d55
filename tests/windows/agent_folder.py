"""Make the agent's folder of the Windows image by the image's own programs, under wine."""

from __future__ import annotations

import http.server
import re
import shutil
import sys
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pip

from tests.engines import roots
from tests.windows.wine import translate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.windows.wine import Finished, Wine

REPOSITORY = roots.REPOSITORY
PROGRAMS = REPOSITORY / "images" / "windows"
COPIED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "sidecar", "launcher")
LEFT_OUT = ("aiobotocore", "aiohttp", "botocore", "cryptography", "tzdata")
"""Most of the files, and so what takes most of the time; copied from the Windows Python instead."""
TIMEOUT = 300.0


class AgentFolder:
    """The agent's folder, as the image has it, in a folder of the test's."""

    def __init__(self, wine: Wine, python: Path, version: str, folder: Path) -> None:
        self._wine, self._python, self._folder = wine, python, folder
        self._version = version
        self._name = f"python{version.replace('.', '')}"
        self.home = folder / "Program Files" / "runner-sidecar"

    def path(self, name: str) -> str:
        """Return the path of a file in it, as Windows has it."""
        return translate(self.home / name)

    def make(self) -> None:
        """Unpack an embedded Python, and install the agent into it."""
        archive = self._folder / "served" / "python.zip"
        archive.parent.mkdir()
        self._pack(archive)
        builder = self._make_builder()
        with _serve(archive.parent) as address:
            checksum = sha256(archive.read_bytes()).hexdigest()
            where = (checksum, translate(self.home), f"{address}/{archive.name}")
            self._run(builder, "unpack.py", *where, cwd=self._folder)
        # A folder by the name of the zip file: here its modules are not compiled beforehand.
        unwanted = shutil.ignore_patterns("site-packages", "__pycache__")
        library = self.home / f"{self._name}.zip"
        shutil.copytree(self._python / "Lib", library, ignore=unwanted)
        source = self._copy_source()
        self._run(builder, "install.py", translate(self.home), cwd=source)
        for name in LEFT_OUT:
            package = Path("Lib", "site-packages", name)
            ignored = shutil.ignore_patterns("data", "__pycache__")
            shutil.copytree(self._python / package, self.home / package, ignore=ignored)

    def _run(self, python: str, program: str, *words: str, cwd: Path) -> Finished:
        env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": translate(_make_wheels(self._version))}
        argv = [python, translate(PROGRAMS / program), *words]
        done = self._wine.run(argv, env=env, cwd=cwd, timeout=TIMEOUT)
        assert done.code == 0, done.output
        return done

    def _pack(self, archive: Path) -> None:
        """Pack the Windows Python as python.org packs its embedded one, but for its library."""
        with zipfile.ZipFile(archive, "w") as packed:
            for path in (*self._python.glob("*.*"), *(self._python / "DLLs").iterdir()):
                packed.write(path, path.name)
            packed.writestr(f"{self._name}._pth", f"{self._name}.zip\r\n.\r\n#import site\r\n")

    def _make_builder(self) -> str:
        """Return the path of a Python with pip that may be written to."""
        folder = self._folder / "builder"
        packages = folder / "Lib" / "site-packages"
        packages.mkdir(parents=True)
        for path in self._python.glob("*.*"):
            shutil.copy(path, folder)
        (packages / "pip").symlink_to(Path(pip.__file__).parent)
        given = [translate(self._python / name) for name in ("Lib", "DLLs")]
        lines = (*given, ".", "Lib\\site-packages")
        (folder / f"{self._name}._pth").write_text("\n".join(lines))
        return translate(folder / "python.exe")

    def _copy_source(self) -> Path:
        """Return a copy of what the Dockerfile copies of the repository."""
        source = self._folder / "src"
        (source / "entrypoint").mkdir(parents=True)
        for name in COPIED:
            path = REPOSITORY / name
            if path.is_dir():
                shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, source)
        shutil.copy(REPOSITORY / "entrypoint" / "start.py", source / "entrypoint")
        (source / "requirements").mkdir()
        for name, text in _requirements().items():
            (source / "requirements" / name).write_text(text)
        return source


def _requirements() -> dict[str, str]:
    """Return the requirements of the image, for Windows, and without LEFT_OUT."""
    texts = {}
    for name in ("build.txt", "runtime.txt"):
        text = (REPOSITORY / "requirements" / name).read_text()
        wanted = re.split(r"(?m)^(?=\S)", text)
        texts[name] = "".join(
            each
            for each in wanted
            if each.partition("==")[0] not in LEFT_OUT and "sys_platform != 'win32'" not in each
        )
    return texts


def _make_wheels(version: str) -> Path:
    """Return a folder with the wheels of the requirements; they are downloaded once."""
    texts = _requirements()

    def make(folder: Path) -> None:
        folder.mkdir()
        pip_download = (sys.executable, "-m", "pip", "download", "-q", "--no-deps")
        windows = ("--platform", "win_amd64", "--implementation", "cp", "--only-binary=:all:")
        for name, text in texts.items():
            (folder / name).write_text(text)
            given = ("--require-hashes", "-r", str(folder / name), "--dest", str(folder))
            roots.run(*pip_download, *windows, "--python-version", version, *given)

    recipe = "".join((*texts.values(), version)).encode()
    return roots.build_cached("windows-wheels", recipe, make)


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    """Serve a folder; yields the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
