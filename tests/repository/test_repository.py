"""The repository as a stranger finds it: it names no workplace and keeps its rules."""

import ast
import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from launcher.deploy.bundle import SHARED

ROOT = Path(__file__).parents[2]

# The words of Apache-2.0, separated by one blank.
LICENCE = "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"

# The tools of the person who installs decide where packages come from.
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.|npmjs\.|yarnpkg\.|rubygems\.|crates\.io|proxy\.golang"
    r"|deb\.debian|archive\.ubuntu"
    r"|--(extra-)?index-ur[l]|--find-link[s]|--trusted-hos[t]|^\s*(@\S+:)?registr[y]\s*=",
    re.MULTILINE,
)
WORKPLACE = re.compile(r"(?<![\w.})])/wor[k]/|/root/\.|/bash_job[s]")


def committed(*more):
    """List what a clone holds, as paths; `more` is told to `git ls-files`."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", *more]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def naming(pattern):
    """List where a committed text matches `pattern`, as path:line."""
    found = []
    for path in committed():
        text = path.read_bytes().decode("utf-8", errors="replace")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]}")
    return found


def test_no_committed_file_names_a_package_registry():
    """A clone installs from wherever its user's own tools are told to."""
    assert naming(REGISTRIES) == []


def test_no_committed_file_names_a_path_of_a_developer_s_machine():
    """What works here works in any folder of any machine."""
    assert naming(WORKPLACE) == []


def test_the_patterns_find_what_they_look_for():
    """The two promises above do not hold for want of a working search."""
    for text in ("https://pypi" + ".org/simple", "x\n--index" + "-url y", "registry" + " = y"):
        assert REGISTRIES.search(text)
    for text in ("cd /wor" + "k/main", '"/wor' + 'k/x"'):
        assert WORKPLACE.search(text)
    for text in ("runner/_wor" + "k/x", "apt-get install docker.io", "$HOME/wor" + "k/x"):
        assert not REGISTRIES.search(text)
        assert not WORKPLACE.search(text)


def test_requirements_are_exact_and_hashed():
    """Each requirement names one version and its hashes, and nothing else stands in the files."""
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert files
    for path in files:
        text = re.sub(r"\s*\\\n\s*", " ", path.read_text())
        for line in filter(None, (line.strip() for line in text.splitlines())):
            assert re.fullmatch(
                r"[a-z0-9._-]+==\S+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+", line
            ), f"{path.name}: {line[:80]}"


def test_the_judges_are_exact():
    """The independent judges are pinned, and their lock names no host."""
    manifest = (ROOT / "tests" / "judges" / "package.json").read_text()
    versions = re.search(r'"dependencies": {(.*?)}', manifest, re.DOTALL)[1]
    assert all(
        re.fullmatch(r'"\d+\.\d+\.\d+"', line.split(": ")[1].strip(" ,"))
        for line in versions.strip().splitlines()
    )
    lock = (ROOT / "tests" / "judges" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_recipes_of_the_makefile_are_short():
    """Each recipe can be read at a glance: ten lines at most, none wider than the code."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    assert max(map(len, lines)) <= 100
    recipe = 0
    for line in lines:
        recipe = recipe + 1 if line.startswith("\t") else 0
        assert recipe <= 10, line


def test_what_is_run_can_be_run():
    """Files that begin with `#!` carry the bit that lets a shell start them."""
    scripts = [path for path in committed() if path.read_bytes().startswith(b"#!")]
    assert ROOT / ".ci" / "run" in scripts
    assert [str(path) for path in scripts if not os.access(path, os.X_OK)] == []


@pytest.mark.shellcheck
def test_shellcheck_finds_nothing():
    """In every program that a shell runs, whichever shell that is."""
    first = re.compile(rb"#!.*\b(ba)?sh\n")
    scripts = [path for path in committed() if first.match(path.read_bytes())]
    assert {ROOT / "entrypoint" / "start", ROOT / ".ci" / "run"} <= set(scripts)
    done = subprocess.run(
        ["shellcheck", "--severity=warning", *scripts],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_licence_is_the_apache_licence_unabridged():
    """LICENSE is the text of Apache-2.0, word for word."""
    words = " ".join((ROOT / "LICENSE").read_text().split())
    assert words.startswith("Apache License Version 2.0, January 2004")
    assert hashlib.sha256(words.encode()).hexdigest() == LICENCE


def trees():
    """Give each committed or new test file with its syntax tree, and nothing that CI installs."""
    for path in sorted(committed("--cached", "--others", "--exclude-standard", "tests/*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def test_every_test_says_what_it_promises():
    """A test without a docstring is a promise that nobody can read."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def _sleeps(node):
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="asyncio" | "time"), attr="sleep"), args=[given]
        ):
            return not (isinstance(given, ast.Constant) and given.value == 0)
        case ast.ImportFrom(module="asyncio" | "time", names=names):
            return any(name.name == "sleep" for name in names)
    return False


def test_no_test_sleeps():
    """Tests wait for a line, an event or a port; programs that they start may do as they like.

    Storms have a virtual clock, on which no real time passes.
    """
    asleep = [
        f"{path}:{node.lineno}"
        for path, tree in trees()
        if path.name.startswith(("test_", "conftest")) and path.parent.name != "storms"
        for node in ast.walk(tree)
        if _sleeps(node)
    ]
    assert asleep == []


def test_unit_tests_mirror_agent_and_launcher():
    """Each folder of tests/unit is a folder of theirs, so that a test is where one looks."""
    ours = {path.relative_to(ROOT / "sidecar") for path in (ROOT / "sidecar").rglob("*/")}
    launcher = [ROOT / "launcher", *(ROOT / "launcher").rglob("*/")]
    ours |= {path.relative_to(ROOT) for path in launcher}
    for folder in (ROOT / "tests" / "unit").rglob("*/"):
        if folder.name != "__pycache__":
            assert folder.relative_to(ROOT / "tests" / "unit") in ours, folder


def test_the_functions_zip_has_all_that_the_launcher_may_use_of_the_agent():
    """What the contract of import-linter forbids is left out of the zip, and nothing else is."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [
        each
        for each in contracts["contracts"]
        if each["type"] == "forbidden" and each["source_modules"] == ["launcher"]
    ]
    forbidden = {name.removeprefix("sidecar.") for name in contract["forbidden_modules"]}
    there = {path.relative_to(ROOT / "sidecar").parts[0] for path in committed("sidecar/*.py")}
    kept = {name for name in there if name.removesuffix(".py") not in forbidden}
    assert set(SHARED) == kept
