"""What transformers reads of a model: its weights and its tokenizer.

Each is read whole or refused in one sentence: no weight is drawn at random, nothing of
the files is left out, no code of a model's own is run, and no later token is seen.
"""

import re
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from gsmlib.method.folders import no_language_model, refusing, weight_files

NARROW = 256  # up to this width eager attention trains 2x faster on a CPU
# What torch.compile, FSDP and DDP, and a module around the model put into the names of
# its weights; none is part of a name that transformers gives.
WRAPPER = re.compile(
    r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.|^module\."
    r"|^model\.(?=(model|transformer|gpt_neox|lm_head|embed_out)\.)"
)
# Names of buffers that older versions saved, and that are computed anew.
COMPUTED = re.compile(r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$")
PROBED, CHANGED = 6, 2  # tokens of a text, and how many of its last are exchanged


def read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """A tokenizer of a folder or of the hub's; raises ValueError for none."""
    with refusing(name, "The tokenizer"):
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def read_model(name: str, config: PretrainedConfig) -> PreTrainedModel:
    """A model in float32 with the weights that its files hold, every one of them.

    Raises ValueError for what is missing, of another shape or without a place.
    """
    with refusing(name, "The model"):
        wide = config.get_text_config().hidden_size > NARROW
        wanted: dict[str, Any] = dict(
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are told below
            output_loading_info=True,
            attn_implementation=None if wide else "eager",
        )
        auto = transformers.AutoModelForCausalLM
        model, found = auto.from_pretrained(name, **wanted)
        if any(map(WRAPPER.search, found["unexpected_keys"])):
            # not by its key_mapping: it would save them by their old names again
            wanted |= dict(state_dict=_unwrapped(name))
            model, found = type(model).from_pretrained(None, **wanted)
    if not all(weights.isfinite().all() for weights in model.parameters()):
        raise ValueError(f"Weights of {name} are not finite; copy its files again.")
    with refusing(name, "The model"):
        causal = _is_causal(model)
    if not causal:
        raise ValueError(no_language_model(name, config))
    _check_found(name, found, set(getattr(model, "_tied_weights_keys", None) or ()))
    return model


def _unwrapped(name: str) -> dict[str, Tensor]:
    """A model's weights by the names that they have without what was around it."""
    folder = Path(cached_file(name, "config.json")).parent
    weights = {}
    for file in weight_files(folder):
        for wrapped, values in load_file(file).items():
            plain, before = wrapped, ""
            while plain != before:
                plain, before = WRAPPER.sub("", plain), plain
            weights[plain] = values
    return weights


def _check_found(name: str, found: dict[str, Any], tied: set[str]) -> None:
    """Refuse weights that transformers would draw at random, or leave out.

    Of the missing ones, that which is no more than tied to another is named last.
    """
    shapes = {
        key: f"({tuple(there)} where its config says {tuple(wanted)})"
        for key, there, wanted in found["mismatched_keys"]
    }
    unused = {key for key in found["unexpected_keys"] if not COMPUTED.search(key)}
    instead = f"(there is {min(unused)})" if unused else ""
    for words, keys in {
        "have another shape than its config says": shapes,
        "are missing in its files": dict.fromkeys(found["missing_keys"], instead),
        "have no place in what its config describes": dict.fromkeys(unused, ""),
    }.items():
        if keys:
            first = min(keys, key=lambda key: (key in tied, key))
            others = f"and {len(keys) - 1} more" if len(keys) > 1 else ""
            about = " ".join(filter(None, (first, keys[first], others)))
            raise ValueError(
                f"Weights of {name} {words}: {about}; give the weights and the "
                "config.json that one save_pretrained wrote."
            )


@torch.no_grad()
def _is_causal(model: PreTrainedModel) -> bool:
    """Whether what is predicted of a token is the same whatever follows it."""
    rows = model.get_input_embeddings().num_embeddings
    ids = torch.arange(PROBED).repeat(2, 1)
    ids[1, -CHANGED:] += 1
    ids %= rows
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    one, other = logits[:, :-CHANGED].float()  # (T, V) each
    return bool((one - other).abs().max() <= 1e-4 * one.std())
