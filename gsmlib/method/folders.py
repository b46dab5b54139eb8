"""Model folders of one's own: which of their files count, and which folders are none.

No code of a folder is ever run, and nothing is asked on the terminal.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsmlib.records import SettingsError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# The kinds of files that decide what a model computes, and how it reads and writes.
READ = (".json", ".model", ".safetensors", ".tiktoken", ".txt")
TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = f"{WEIGHTS_FILE}.index.json"  # of weights in several files
POINTER = b"version https://git-lfs"  # how a file begins that was not fetched
SMALL = 2**16  # bytes; a file of no more is compared by what it holds
FLOATS = ("F64", "F32", "F16", "BF16")
QUANTIZED = ("quantization_config", "quantization", "compression_config")
UNQUANTIZED = (
    "which cannot be trained; take the weights in 16 or 32 bits that they were made of"
)


def files_of(folder: Path) -> list[Path]:
    """Return the files of a model folder that decide what it computes, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix in READ and p.is_file())


def state_of(model: str) -> tuple[Any, ...]:
    """Return what differs once a file of a model's folder has changed.

    Cheap enough to be asked for again and again; () where the model is no folder.
    """
    if not Path(model).is_dir():
        return ()
    return tuple(map(_state, files_of(Path(model))))


def _state(file: Path) -> tuple[Any, ...]:
    about = file.stat()
    # a clock's tick is long enough for two changes of a small file of the same length
    held = file.read_bytes() if about.st_size <= SMALL else b""
    times = about.st_mtime_ns, about.st_ctime_ns
    return file.name, about.st_ino, about.st_size, *times, held


# ------------------------------------------------------------------------ its config


@contextmanager
def refusing(model: str, what: str) -> Iterator[None]:
    """Within, whatever transformers cannot read of a model is one sentence."""
    import transformers
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # what is amiss is said here, and once
    try:
        yield
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if "custom code" in cause:
            raise SettingsError(
                f"{what} of {model} needs code of its own, which is never run here; "
                "take a model of a kind that transformers knows."
            ) from error
        raise SettingsError(
            f"{what} of {model!r} could not be read ({cause}); give a folder or a name "
            f"of the hub whose files transformers {transformers.__version__} reads."
        ) from error
    finally:
        logging.set_verbosity(before)


def read_config(model: str) -> "PretrainedConfig":
    """Return the config of a folder's model or the hub's, whatever its files hold.

    Raises SettingsError where there is none, and where it is not that of a causal
    language model whose weights are floats.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    if Path(model).is_dir():
        _check_config_file(Path(model))
    with refusing(model, "The config"):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    values = config.to_dict()
    for name in QUANTIZED:
        if values.get(name):
            about = values[name]
            method = about.get("quant_method") if isinstance(about, dict) else None
            raise SettingsError(
                f"The weights of {model} are quantized ({method or name} in its "
                f"config), {UNQUANTIZED}."
            )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise SettingsError(no_language_model(model, config))
    return config


def no_language_model(model: str, config: "PretrainedConfig") -> str:
    """Return the sentence about a model that is of another kind than is needed."""
    kind = (config.architectures or [config.model_type])[0]
    return (
        f"{model} is no causal language model (a {kind} is not): take one that "
        "predicts each token from those before it, such as gpt2."
    )


def _check_config_file(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise SettingsError(
            f"{folder} holds a PEFT adapter, which is not a whole model; merge it into "
            "its model (merge_and_unload) and save that with its tokenizer."
        )
    file = folder / "config.json"
    if not file.is_file():
        raise SettingsError(
            f"{folder} holds no language model: config.json is missing."
        )
    _refuse_pointer(file)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{file} is no JSON ({error}); save it again.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{file} is no model's: it holds no names with values.")


# ------------------------------------------------------------------- its other files


def check_folder(folder: Path) -> None:
    """Raise SettingsError, in one sentence, where a folder is no usable model.

    What takes loading it to see is `pretrained`'s to refuse.
    """
    _check_config_file(folder)
    for file in files_of(folder):
        _refuse_pointer(file)
    for file in weight_files(folder):
        _check_weights(file)
    if not any(file for kind in TOKENIZERS for file in folder.glob(kind)):
        raise SettingsError(
            f"{folder} holds no tokenizer (tokenizer.json is missing); save it there "
            "with its save_pretrained."
        )


def _refuse_pointer(file: Path) -> None:
    with open(file, "rb") as opened:
        begun = opened.read(len(POINTER))
    if begun == POINTER:
        raise SettingsError(
            f"{file} is a Git LFS pointer and not the file itself; fetch it with "
            f"`git lfs pull` in {file.parent}."
        )


def weight_files(folder: Path) -> list[Path]:
    """Return the files that a folder's weights are in; SettingsError for none."""
    index = folder / INDEX_FILE
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not any(folder.glob("*.safetensors")):
        raise SettingsError(
            f"{folder} holds no safetensors weights, the only kind read; save the "
            "model with save_pretrained."
        )
    if not index.is_file():
        raise SettingsError(
            f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}, which says what "
            "is where; save the model with save_pretrained."
        )
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = [folder / str(name) for name in sorted(set(places.values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{index} cannot be read; copy it again.") from error
    for file in files:
        if file.parent != folder:
            raise SettingsError(
                f"{INDEX_FILE} of {folder} names {file.relative_to(folder)}, which is "
                "in another folder; save the model anew, with all its files in one."
            )
        if not file.is_file():
            raise SettingsError(
                f"{file} is missing, which {INDEX_FILE} names; copy it there."
            )
    return files


def _check_weights(file: Path) -> None:
    """Refuse a file that is no safetensors, or whose weights are no floats."""
    from safetensors import SafetensorError, safe_open  # here: numpy comes with it

    try:
        with safe_open(file, "np") as opened:
            names = [name for name in opened.keys() if name.endswith("weight")]  # noqa: SIM118
            kinds = {name: opened.get_slice(name).get_dtype() for name in names}
    except (SafetensorError, OSError) as error:
        raise SettingsError(
            f"{file} cannot be read ({error}); copy it again, whole."
        ) from error
    for name, kind in kinds.items():
        if kind not in FLOATS:
            raise SettingsError(
                f"{name} in {file} is quantized (type {kind}), {UNQUANTIZED}."
            )
