"""pyproject.toml, environment.yml and requirements.lock say the same."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gsmlib
from gsmlib.environment import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = PROJECT["dependencies"] + EXTRAS["dev"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()


def locked():
    pairs = (line.split("==") for line in LOCK)
    return {canonicalize_name(name): version for name, version in pairs}


def test_environment_equals_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    python, *rest = environment["dependencies"]
    assert python == "python=3.11" and PROJECT["requires-python"] == ">=3.11"
    pip = next(entry["pip"] for entry in rest if isinstance(entry, dict))
    assert pip == NEEDED


@pytest.mark.parametrize("line", LOCK)
def test_the_lock_has_exact_versions_only(line):
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("requirement", NEEDED)
def test_the_lock_satisfies_every_dependency(requirement):
    wanted = Requirement(requirement)
    version = locked().get(canonicalize_name(wanted.name))
    assert version is not None, f"{wanted.name} is not in requirements.lock"
    assert wanted.specifier.contains(version)
    assert wanted.specifier, "a dependency needs a lower bound"


def test_the_reported_runs_used_one_torch():
    assert locked()["torch"] == "2.13.0"
    assert "ray" in {Requirement(entry).name for entry in EXTRAS["ray"]}


def test_the_command_is_installed_with_the_package():
    assert PROJECT["scripts"] == {"gsmlib": "gsmlib.cli:main"}
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


def test_the_makefile_has_the_two_targets():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^report:", text, re.MULTILINE)
    assert re.search(r"^test:", text, re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make test" in ci and "set -euo pipefail" in ci
