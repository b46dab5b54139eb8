"""Try the lowest versions that pyproject.toml allows: run by hand, with the network.

    python3.11 tests/try_floors.py FOLDER [torch==2.13.0 ...]

makes an environment of the floors in FOLDER, runs 03_verification at scale smoke and
lints. What is named behind the folder replaces a floor, such as a torch without CUDA
(uv finds it by UV_FIND_LINKS). CONTRIBUTING.md says what was tried.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(folder: str, *replaced: str) -> None:
    """Make the environment, print its versions, and use it."""
    place = Path(folder).resolve()
    venv.create(place, with_pip=True)
    python, scripts = place / "bin" / "python", place / "bin"
    others = place / "replaced.txt"
    others.write_text("\n".join(replaced))

    def call(*command: str | Path) -> None:
        # of the store and pages of nobody else
        own = {"GSMLIB_CACHE": str(place / "cache"), "GSMLIB_RUNS": str(place / "runs")}
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | own)

    call(python, "-m", "pip", "install", "--quiet", "uv")
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    lowest = ["--resolution", "lowest-direct", "--overrides", others]
    call(*install, *lowest, "--extra", "dev", "-r", ROOT / "pyproject.toml")
    call(*install, "--no-deps", "-e", ROOT)
    call(python, "-m", "uv", "pip", "list", "--python", python)
    call(scripts / "gsmlib", "run", "03", "--scale", "smoke")
    call(scripts / "ruff", "check", ".")
    call(scripts / "ruff", "format", "--check", ".")
    print("The floors pass.")


if __name__ == "__main__":
    main(*sys.argv[1:])
