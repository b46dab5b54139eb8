"""pyproject.toml, environment.yml and requirements.lock say the same."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gsmlib
from gsmlib.environment import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = PROJECT["dependencies"] + EXTRAS["dev"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
# Debian 12 has 3.11.2; soupsieve left 3.11.0 to 3.11.4 with one of its releases.
PYTHONS = ["3.11.0", "3.11.2", "3.11.9", "3.12.1", "3.13.0", "3.14.0"]
LINUX = {"sys_platform": "linux", "os_name": "posix", "platform_machine": "x86_64"}


def locked(python="3.11.2"):
    """The versions that a Python on Linux gets of the lock."""
    where = LINUX | {"python_full_version": python, "python_version": python[:4]}
    found = {}
    for requirement in map(Requirement, LOCK):
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} stands twice for Python {python}"
            found[name] = str(requirement.specifier).removeprefix("==")
    return found


def test_environment_equals_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    python, *rest = environment["dependencies"]
    assert python == "python=3.11" and PROJECT["requires-python"] == ">=3.11"
    pip = next(entry["pip"] for entry in rest if isinstance(entry, dict))
    assert pip == NEEDED


@pytest.mark.parametrize("line", LOCK)
def test_the_lock_has_exact_versions_only(line):
    pinned, _, marker = line.partition(" ; ")
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pinned), line
    assert not marker or Marker(marker)
    assert not re.match(r"cuda|nvidia|triton", line), "what brings it is torch"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_every_dependency(python):
    for wanted in map(Requirement, NEEDED):
        version = locked(python).get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not in requirements.lock"
        assert wanted.specifier.contains(version)
        assert wanted.specifier, "a dependency needs a lower bound"


@pytest.mark.parametrize(
    ("python", "version"),
    [("3.11.2", "2.10"), ("3.11.5", "4.1.2"), ("3.14.0", "4.1.2")],
)
def test_an_old_python_gets_what_still_runs_on_it(python, version):
    assert locked(python)["soupsieve"] == version


def test_the_reported_runs_used_one_torch():
    assert locked()["torch"] == "2.13.0"
    assert "ray" in {Requirement(entry).name for entry in EXTRAS["ray"]}


def test_the_command_is_installed_with_the_package():
    assert PROJECT["scripts"] == {"gsmlib": "gsmlib.__main__:main"}
    assert PROJECT["name"] == gsmlib.__name__


def test_every_package_and_its_files_are_installed():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setup["packages"]["find"]["include"] == ["gsmlib*"]
    folders = {path.parent for path in (ROOT / "gsmlib").rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    others = {
        path.relative_to(ROOT / "gsmlib")
        for path in (ROOT / "gsmlib").rglob("*.*")
        if path.suffix not in (".py", ".pyc")
    }
    patterns = setup["package-data"]["gsmlib"]
    assert all(any(path.match(pattern) for pattern in patterns) for path in others)


# --------------------------------------------------------------------- the Makefile


@pytest.fixture
def checkout(tmp_path):
    """The Makefile and what it looks at, in a folder whose name has a space."""
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder, *arguments):
    """Run make's setting up, without installing; return its code and what it says."""
    command = ["make", "-n", ".venv/installed", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


MADE_ANEW = "-m venv --clear .venv"


def make_venv(folder, pip=True):
    """What `python -m venv` leaves behind; half of it where there is no ensurepip."""
    command = [sys.executable, "-m", "venv", "--without-pip", folder / ".venv"]
    subprocess.run(command, check=True)
    if pip:
        site = next((folder / ".venv" / "lib").glob("python*")) / "site-packages"
        (site / "pip").mkdir()
        (site / "pip" / "__init__.py").touch()
        (site / "pip" / "__main__.py").touch()
        (folder / ".venv" / "installed").touch()


def test_a_whole_venv_is_left_alone(checkout):
    make_venv(checkout)
    assert "is up to date" in make(checkout)
    (checkout / "requirements.lock").touch()
    said = make(checkout)
    assert "pip install" in said and MADE_ANEW not in said


def test_a_half_made_venv_is_made_anew(checkout):
    make_venv(checkout, pip=False)
    assert MADE_ANEW in make(checkout)


def test_a_moved_venv_is_made_anew(checkout):
    make_venv(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert MADE_ANEW in make(moved)


def test_a_venv_whose_python_is_gone_is_made_anew(checkout):
    make_venv(checkout)
    for link in (checkout / ".venv" / "bin").glob("python*"):
        link.unlink()
        link.symlink_to(checkout / "gone")
    assert MADE_ANEW in make(checkout)


def test_a_venv_of_another_python_is_made_anew_where_one_is_asked_for(checkout):
    make_venv(checkout)
    assert "is up to date" in make(checkout, f"PYTHON={sys.executable}")
    other = pretend(checkout, "(3, 12, 0)")
    assert MADE_ANEW in make(checkout, f"PYTHON={other}")


def pretend(folder, version="(3, 11, 2)", more=""):
    """A Python that says it has another version, or lacks something."""
    path = folder / "python"
    code = f"import sys; sys.version_info = {version}; {more}; exec(sys.argv.pop(1))"
    path.write_text(f'#!/bin/sh\nshift; exec "{sys.executable}" -c "{code}" "$@"\n')
    path.chmod(0o755)
    return "./python"


@pytest.mark.parametrize(
    ("version", "more", "words"),
    [
        ("(3, 10, 9)", "pass", "is Python 3.10, needed is 3.11 to 3.14"),
        ("(3, 15, 0)", "pass", "is Python 3.15, needed is 3.11 to 3.14"),
        ("(3, 11, 2)", "sys.modules['ensurepip'] = None", "install python3.11-venv"),
    ],
)
def test_a_python_that_cannot_serve_is_refused_in_a_sentence(
    checkout, version, more, words
):
    command = ["make", ".venv/installed", f"PYTHON={pretend(checkout, version, more)}"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("gsmlib")]
    assert done.returncode and len(said) == 1 and words in said[0]
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_not_there_is_named(checkout):
    command = ["make", ".venv/installed", "PYTHON=python3.99"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode and "gsmlib: there is no python3.99" in done.stdout


def test_the_makefile_has_the_two_targets():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^report:", text, re.MULTILINE)
    assert re.search(r"^test:", text, re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make test" in ci and "set -euo pipefail" in ci
