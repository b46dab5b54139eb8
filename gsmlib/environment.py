"""Where this process runs: folders, devices, processes, versions, the checkout."""

import atexit
import os
import platform
import shutil
import subprocess
import tempfile
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gsmlib.records import Precision, SettingsError

# how accelerate and torchrun, or MPI, tell a process how many of it there are
PROCESS_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def folder_of(variable: str, usual: Path | str) -> Path:
    """Return the folder that an environment variable names, `~` read, else the usual.

    Raises SettingsError for a `~` where there is no home folder.
    """
    named = Path(os.environ.get(variable) or usual)
    try:
        return named.expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{named} has no meaning, as there is no such home folder; set {variable} "
            "to a folder, or HOME."
        ) from None


def cache_folder() -> Path:
    """Where downloads and the store live: GSMLIB_CACHE, else ~/.cache/gsmlib."""
    return folder_of("GSMLIB_CACHE", "~/.cache/gsmlib")


def give_home() -> None:
    """Where the home folder is missing or cannot be written, let a temporary one serve.

    Jupyter, IPython and matplotlib keep files of the moment there; what is computed
    needs a cache that lasts. Raises SettingsError where there would be none.
    """
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and os.access(home, os.W_OK):
        return
    cache_folder()
    folder = tempfile.mkdtemp(prefix="gsmlib-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not home.is_absolute():
        os.environ["HOME"] = folder
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        os.environ.setdefault(name, str(Path(folder) / name.lower()))


def project_root() -> Path:
    """Return the checkout's folder, or the current one for an installed package."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def count_from(variable: str) -> int | None:
    """Return the positive number in an environment variable, None where it is unset."""
    given = os.environ.get(variable, "")
    if given and (not given.isdecimal() or int(given) < 1):
        raise SettingsError(f"{variable} is {given!r}; give a number from 1.")
    return int(given) if given else None


def is_launched() -> bool:
    """Whether this is one of the processes of `accelerate launch` or its like."""
    return any(name in os.environ for name in PROCESS_COUNTS)


def has_gpu() -> bool:
    """Whether torch has a GPU; a build for CPUs alone need not be imported to know."""
    if metadata.version("torch").endswith("+cpu"):
        return False
    import torch  # here, so that drawing figures does not need torch

    return torch.cuda.is_available()


def best_precision() -> Precision:
    """ "bf16" on a GPU or a CPU with bfloat16 instructions, else "fp32"."""
    if has_gpu():
        return "bf16"
    flags = Path("/proc/cpuinfo")
    known = flags.read_text() if flags.exists() else ""
    return "bf16" if "avx512_bf16" in known or "amx_bf16" in known else "fp32"


@cache
def product_rate(precision: Precision) -> float:
    """Return the operations a second of matrix products on one core of this CPU.

    Measured once a process, in a moment: the best of ten products of SmolLM2's sizes.
    """
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    rows, weights = torch.ones(512, 576, dtype=kind), torch.ones(1536, 576, dtype=kind)
    took = []
    for _ in range(10):
        began = time.perf_counter()
        rows @ weights.T
        took.append(time.perf_counter() - began)
    return 2 * 512 * 576 * 1536 / min(took) / torch.get_num_threads()


def describe_setup() -> str:
    """One line: versions of what matters to a result, and the device."""
    names = ("gsmlib", "torch", "transformers")
    versions = " · ".join(f"{name} {metadata.version(name)}" for name in names)
    device = processor_name()
    if not has_gpu():
        device = f"CPU {device}, {os.cpu_count()} cores"
    return f"Python {platform.python_version()} · {versions} · {device}"


def processor_name() -> str:
    """The GPU that computes here, or the CPU: on others sums round differently."""
    if has_gpu():
        import torch

        return torch.cuda.get_device_name()
    about = Path("/proc/cpuinfo")  # Linux alone has it
    lines = about.read_text().splitlines() if about.exists() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def provenance(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a result came from: the settings, the commit, the versions."""
    packages = ("gsmlib", "torch", "transformers", "numpy", "matplotlib")
    versions = {name: metadata.version(name) for name in packages}
    return {"settings": settings, "commit": _commit(), "versions": versions}


def _commit() -> str | None:
    """The checkout's commit, marked -dirty where code or notebooks differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "gsmlib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
