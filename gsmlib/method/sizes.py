"""The models that have a name here: their sizes, and the files of those shipped."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gsmlib.method.folders import check_folder, read_config, refusing, state_of
from gsmlib.records import SettingsError, did_you_mean


class Size(NamedTuple):
    """A model's size: parameters in millions, layers, width, entries of vocabulary."""

    millions: float
    layers: int
    width: int
    vocabulary: int


# The mini-GPTs, shipped in WEIGHTS: (width, layers); a head is 32 wide, and there are
# at least two. Depth is what checking needs (docs/regime.md).
MINI_SIZES = {
    "mini-0.2m": (32, 8),
    "mini-0.5m": (64, 8),
    "mini-2m": (128, 8),
    "mini-4m": (192, 8),
}
HUB_SECONDS = 10  # that the hub has to answer in
WEIGHTS = Path(__file__).parents[1] / "weights"
TOKENIZER_FILE = WEIGHTS / "tokenizer.json"
MINI_VOCABULARY = 1400  # about
POSITIONS = 400  # of a mini-GPT: the paper's maximum sample length (appendix B)
SMOLLM2_POSITIONS = 8192

SIZES = {
    "tiny": Size(0.1, 2, 32, MINI_VOCABULARY),
    **{
        name: Size(float(name[5:-1]), layers, width, MINI_VOCABULARY)
        for name, (width, layers) in MINI_SIZES.items()
    },
    "smollm2-135m": Size(135, 30, 576, 49_152),
    "gpt2": Size(124, 12, 768, 50_257),
    "gpt2-medium": Size(355, 24, 1024, 50_257),
    "gpt2-large": Size(774, 36, 1280, 50_257),
    "gpt2-xl": Size(1558, 48, 1600, 50_257),
}


def known_names() -> list[str]:
    """Return the names of models that need neither a folder nor the hub."""
    minis = [name + suffix for name in MINI_SIZES for suffix in ("", ":random")]
    return [*minis, "tiny:random", "smollm2-135m"]


def size_of(model: str) -> Size:
    """Return a model's size; that of a folder or of the hub's is read off its config.

    Raises SettingsError where there is no such model, or its config is not at hand.
    """
    name = model.removesuffix(":random")
    if model in known_names():
        return SIZES[name]
    if name != model:
        known = ", ".join(known_names())
        raise SettingsError(f"No mini-GPT is named {name!r}; known: {known}.")
    if model in SIZES and model != "tiny":  # of the hub
        return SIZES[model]
    return _read_size(model, state_of(model))


def positions_of(model: str) -> int | None:
    """Return how many tokens a model can read at once; None where nothing bounds it."""
    if model in known_names():
        return SMOLLM2_POSITIONS if model == "smollm2-135m" else POSITIONS
    config = read_config(model).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def check_model(model: str) -> None:
    """Raise SettingsError where a model cannot be had, before anything is computed."""
    if model in known_names():
        return
    if Path(model).is_dir():
        check_folder(Path(model))
    size_of(model)
    _read_size(model, state_of(model))  # a size that is known here says nothing of that


def _ask_hub(model: str) -> None:
    """Refuse a model that no config can be had of; the hub is asked but once.

    Its client would ask again and again, for minutes where there is no network.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils import OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        if isinstance(hub.try_to_load_from_cache(model, "config.json"), str):
            return
        url = hub.hf_hub_url(model, "config.json")
        hub.get_hf_file_metadata(url, timeout=HUB_SECONDS)
        return
    except hub.errors.HFValidationError:
        cause = "no folder has this name, and no model of the hub can"
    except RepositoryNotFoundError:
        cause = "the hub has no model of this name"
    except OfflineModeIsEnabled:
        cause = "it is not in the cache, and HF_HUB_OFFLINE is set"
    except Exception as error:  # the network's, whose kinds differ between versions
        cause = f"the hub was asked in vain: {error}".splitlines()[0].rstrip(".")
    raise SettingsError(
        f"No config of a model {model!r} could be read ({cause})"
        f"{did_you_mean(model, known_names())}; known names: "
        f"{', '.join(known_names())}, or a folder or a name of the hub."
    )


@cache
def _read_size(model: str, _: tuple[Any, ...]) -> Size:
    """Read a config off the hub or a folder, of which `_` is the state."""
    if not Path(model).is_dir():
        _ask_hub(model)
    # here: both import torch, which a name that nobody knows need not wait for
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = read_config(model)
    with refusing(model, "The config"), init_empty_weights():
        empty = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        parts = text.num_hidden_layers, text.hidden_size, text.vocab_size
    return Size(empty.num_parameters() / 1e6, *parts)
