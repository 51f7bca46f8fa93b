"""What is installed is what was locked: files by hash, nothing that runs by merely being there."""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / ".ci/requirements.txt", ROOT / ".ci/build.txt")
PINNED = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][\w.]*)(?: ; (?P<marker>[^\\\n]+))?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")

#: Lines of `.pth` files that run code at each start of Python, as sha256 of the file, and whose.
KNOWN = {
    # setuptools, so that its own distutils is taken: here in every version for years
    (
        "distutils-precedence.pth",
        "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224",
    ),
}


def locked(*paths: Path) -> dict[str, tuple[str, str | None]]:
    """Return what the locks pin: name to version and marker."""
    return {
        each["name"]: (each["version"], each["marker"])
        for path in paths
        for each in PINNED.finditer(path.read_text(encoding="utf-8"))
    }


def asked() -> list[Requirement]:
    """Return what pyproject.toml asks for: to run, to test and to build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    texts = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["test"],
        *project["build-system"]["requires"],
    ]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_versions_and_hashes_and_nothing_else(path):
    """No host, no path, no option: where packages come from is the installing machine's affair."""
    text = path.read_text(encoding="utf-8")

    assert PINNED.sub("", text) == ""
    assert len(PINNED.findall(text)) > 5


def test_every_dependency_is_locked_within_its_bounds():
    pins = locked(*LOCKS)
    wrong = [
        str(requirement)
        for requirement in asked()
        if requirement.name not in pins
        or not requirement.specifier.contains(pins[requirement.name][0])
    ]

    assert wrong == []


def test_both_locks_mean_the_same_versions():
    runtime, build = (locked(path) for path in LOCKS)

    assert {name: build[name] for name in build.keys() & runtime.keys()} == {
        name: runtime[name] for name in build.keys() & runtime.keys()
    }


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_asked_for_is_locked_for_every_python_and_machine(python, machine):
    from packaging.markers import Marker

    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
    }
    pins = locked(*LOCKS)
    left_out = [
        requirement.name
        for requirement in asked()
        if (marker := pins[requirement.name][1]) and not Marker(marker).evaluate(environment)
    ]

    assert left_out == []


def code_run_at_start(folder: Path) -> set[tuple[str, str]]:
    """Return the files in *folder* that run code whenever Python starts: name and sha256."""
    found = [
        path
        for path in folder.glob("*.pth")
        if re.search(rb"^import[ \t]", path.read_bytes(), re.MULTILINE)
    ]
    found += [
        path for name in ("sitecustomize", "usercustomize") for path in folder.glob(f"{name}*")
    ]
    return {
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder")
        for path in found
    }


def test_nothing_that_is_installed_runs_unasked():
    folders = {Path(each) for each in sys.path if Path(each).name == "site-packages"}
    unasked = {each for folder in folders for each in code_run_at_start(folder)}

    assert folders
    assert unasked - KNOWN == set()


@pytest.mark.parametrize(
    ("name", "content", "runs"),
    [
        ("litellm_init.pth", "import os, subprocess\n", True),
        ("evil.pth", "/some/path\nimport\tbase64; exec('')\n", True),
        ("sitecustomize.py", "", True),
        ("_editable.pth", "/some/path\n# import nothing\n\n", False),
        ("distutils-precedence.pth", "import evil\n", True),
    ],
)
def test_code_that_is_planted_is_found(tmp_path, name, content, runs):
    (tmp_path / name).write_text(content)

    assert bool(code_run_at_start(tmp_path) - KNOWN) is runs


#: Stands in for pip: notes what it is told, and does as the test says with what is locked.
PIP = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in *--require-hashes*) echo "$SAYS"; exit "$CODE";; esac
"""


@pytest.mark.parametrize(
    ("says", "code", "expected", "installs"),
    [
        ("", 0, 0, ["build.txt", "requirements.txt", "-e ."]),
        ("No matching distribution found for x==1", 1, 0, ["build.txt", "-e .[test]"]),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM …", 1, 1, ["build.txt"]),
    ],
    ids=["locked", "not to be had", "another hash"],
)
def test_ci_installs_what_is_locked_and_stops_where_a_hash_differs(
    tmp_path, says, code, expected, installs
):
    pip = tmp_path / "bin/pip"
    pip.parent.mkdir()
    pip.write_text(PIP)
    pip.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / ".ci/install", tmp_path], capture_output=True, text=True, check=False,
        env={**os.environ, "SAYS": says, "CODE": str(code)},
    )  # fmt: skip
    told = (tmp_path / "bin/pip.log").read_text().splitlines()

    assert done.returncode == expected
    assert len(told) == len(installs)
    assert all(line.endswith(end) for line, end in zip(told, installs, strict=True))
    assert all("--require-hashes" in line for line in told if line.endswith(".txt"))
    assert ("NOT the locked packages" in done.stderr) is (installs[-1] == "-e .[test]")
