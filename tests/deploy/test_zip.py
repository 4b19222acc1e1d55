"""The zip of the functions: built of wheels for another machine, and checked file by file."""

import base64
import hashlib
import re
import struct
import zipfile
from pathlib import Path

import pytest

from launcher.deploy import bundle, code, compiled, inspection, wheels
from launcher.deploy.target import Target
from launcher.errors import Exit, LaunchError

ROOT = Path(__file__).parents[2]
TARGET = Target("3.13", "arm64")
REQUIREMENT = re.compile(
    r"^\S+==\S+(?: ;[^\\\n]*)? \\\n(?:    --hash=\S+(?: \\)?\n)+", re.MULTILINE
)
HANDLER = {"launcher/lambdas.py": b"def work(event, context): ..."}


def make_wheel(folder, files, *, spoil=None):
    """Write a wheel; `spoil` is a file whose content is not what RECORD says."""
    path = folder / "part-1.0-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, b"something else" if name == spoil else content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            rows.append(f"{name},sha256={digest.rstrip('=')},{len(content)}")
        archive.writestr("part-1.0.dist-info/RECORD", "\n".join(rows))
    return path


def make_library(machine=183, glibc=17):
    """Return the beginning of a shared library, as far as it is looked at."""
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HH", 3, machine)
    return head + f"\0GLIBC_2.2.5\0GLIBC_2.{glibc}\0".encode()


# --- what is built ------------------------------------------------------------------------------


def test_the_zip_for_lambda_is_built_of_wheels_for_it(tmp_path, record_property):
    """By default for Python 3.13 on arm64, whatever this machine is; each file is checked."""
    made = code.build(Target(), tmp_path / "launcher.zip")
    with zipfile.ZipFile(made.path) as archive:
        names = archive.namelist()
        libraries = [name for name in names if ".so" in name]
    assert any("cpython-313-aarch64" in name for name in libraries)
    assert {name.split("/")[1] for name in names if name.startswith("sidecar/")} == set(
        bundle.SHARED
    )
    assert not [name for name in names if name.startswith(("launcher/deploy", "local/", "tests/"))]
    assert {"launcher/places/boot/linux.sh", "launcher/places/boot/windows.ps1"} <= set(names)
    services = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    assert {name for name in services if not name.endswith(".json")} == set(bundle.SERVICES)
    assert made.size < 25e6
    assert made.unpacked < 80e6
    record_property("launcher.zip", made.report())


def test_the_requirements_are_those_of_the_package():
    """The same versions and hashes that everything else is tested with, and no others."""
    text = wheels.REQUIREMENTS.read_text()
    everywhere = (ROOT / "requirements" / "runtime.txt").read_text()
    listed = re.findall(
        r"^\S+==\S+(?: ;[^\\\n]*)? \\\n(?:    --hash=\S+(?: \\)?\n)+", text, re.MULTILINE
    )
    assert len(listed) > 20
    missing = [each.partition(" ")[0] for each in listed if each not in everywhere]
    assert missing == []
    # pip evaluates markers for the machine that it runs on, not for the target.
    markers = set(re.findall(r" ; (.*?) \\", text))
    assert all("python_version" not in each and "machine" not in each for each in markers)


def test_the_same_files_give_the_same_zip(tmp_path):
    """Whoever packs them, in whatever order: so an update of nothing changes nothing."""
    files = {"b.py": b"2", "a.py": b"1"}
    first = bundle.pack(files, tmp_path / "1.zip")
    second = bundle.pack(dict(reversed(files.items())), tmp_path / "2.zip")
    assert first.sha256 == second.sha256


def test_what_no_function_needs_is_left_out():
    """Tests, headers, types, and botocore's descriptions of services that nobody calls."""
    used = ("aiohttp/client.py", "botocore/data/sqs/2012-11-05/service-2.json.gz")
    used += ("botocore/data/endpoints.json", "tzdata/zoneinfo/Europe/Berlin")
    unused = ("aiohttp/_http_parser.pyx", "pydantic/main.pyi", "botocore/data/acm/2016/a.json")
    unused += ("botocore/data/sqs/2012-11-05/examples-1.json", "numpy/tests/test_a.py")
    assert [name for name in used if not bundle.is_used(name)] == []
    assert [name for name in unused if bundle.is_used(name)] == []


def test_sources_are_compiled_for_their_own_python_only(tmp_path):
    """Lambda's folder is read-only; code of another Python would be of no use."""
    here = Target.of_this_machine()
    python = compiled.find_python(here)
    made = compiled.compile_sources({"a/b.py": b"x = 1", "c.py": b"print 1", "d.txt": b""}, python)
    tag = here.python.replace(".", "")
    assert list(made) == [f"a/__pycache__/b.cpython-{tag}.pyc"]
    assert compiled.find_python(Target("3.99", "arm64")) is None


# --- what is refused ----------------------------------------------------------------------------


def test_a_wheel_whose_file_was_changed_is_refused(tmp_path):
    """RECORD has the hash of each file; the wheel is fine without the change."""
    files = {
        "part/a.py": b"x = 1",
        "part-1.0.data/purelib/c.py": b"",
        "part-1.0.data/scripts/d": b"",
    }
    found = dict(wheels.read_wheel(make_wheel(tmp_path, files)))
    assert found == {"part/a.py": b"x = 1", "c.py": b""}
    with pytest.raises(LaunchError, match=r"part/a\.py is not what RECORD says"):
        list(wheels.read_wheel(make_wheel(tmp_path, files, spoil="part/a.py")))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"a.so": make_library(62)}, "a.so is not for arm64"),
        ({"a.cpython-312-aarch64-linux-gnu.so": make_library()}, "is not for Python 3.13"),
        ({"a.so": make_library(glibc=35)}, "a.so needs glibc 2.35, and Lambda has 2.34"),
        ({"deploy/app.pem": b""}, "deploy/app.pem may hold a secret"),
        ({".env": b""}, ".env may hold a secret"),
        ({"../a.py": b""}, "'../a.py' is not a path below the zip's root"),
        ({"/a.py": b""}, "'/a.py' is not a path below the zip's root"),
        ({"a.py": b"", "A.py": b""}, "a path is there twice, or in two spellings"),
    ],
)
def test_a_zip_with_a_wrong_file_is_refused(tmp_path, more, problem):
    """Each of these would break a function, or show what it must not; without it all is well."""
    made = bundle.pack(HANDLER | {"b.so": make_library()}, tmp_path / "good.zip")
    assert inspection.inspect(made.path, HANDLER | {"b.so": make_library()}, TARGET) == []
    files = HANDLER | more
    made = bundle.pack(files, tmp_path / "bad.zip")
    (found,) = inspection.inspect(made.path, files, TARGET)
    assert problem in found


def test_a_zip_that_is_not_what_was_collected_is_refused(tmp_path):
    """One file too many, one too few, one that is another."""
    expected = HANDLER | {"a.py": b"1", "b.py": b"2"}
    made = bundle.pack(HANDLER | {"a.py": b"3", "c.py": b"4"}, tmp_path / "x.zip")
    assert inspection.inspect(made.path, expected, TARGET) == [
        "c.py does not belong into the zip",
        "b.py is missing",
        "a.py is not the file that was collected",
    ]


def test_a_file_that_only_its_owner_reads_is_refused(tmp_path):
    """Lambda runs the code as another user."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in HANDLER.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    assert "has the mode" in inspection.inspect(path, HANDLER, TARGET)[0]


def test_a_package_whose_hash_is_not_listed_is_not_taken(tmp_path):
    """Pip refuses it, and the error says which."""
    wrong = tmp_path / "requirements.txt"
    wrong.write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(LaunchError, match=r"cannot download the wheels: .*HASHES") as refused:
        wheels.download(TARGET, tmp_path, wrong)
    assert refused.value.exit is Exit.UNAVAILABLE
