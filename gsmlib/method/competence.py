"""What a pretrained mini-GPT can do of a single step: copy a fact, compute from it.

A line of a solution quotes its fact and then computes. Whoever verifies such lines must
be able to do both; here the model itself is asked, on running text that it never read.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import torch

from gsmlib.data.schoolwork import TextKnobs, make_passage
from gsmlib.method.models import LanguageModel

HELD_OUT_SEED = 2  # what is shipped has read the text of seed 1
FACTS = (2, 4, 6, 8)  # told in a passage
COMPUTED = re.compile(r"(\d+[-+*/]\d+)=\d+")


class Step(NamedTuple):
    """Where in a passage's text a line's quote and expression are, from and to."""

    quote: tuple[int, int]  # behind the first name, which says whose turn it is
    expression: tuple[int, int]


def measure_steps(lm: LanguageModel, passages: int) -> pd.DataFrame:
    """Return how many steps a model gets right: a row per number of facts told.

    Columns: facts, and (L,) lists of 0 and 1 by line, quoted (the model would copy the
    whole quote greedily, once it has the name) and computed (the expression is what it
    would write, given the quote and how the line goes on).
    """
    rows = []
    for facts in FACTS:
        texts = [held_out_text(i, facts) for i in range(passages)]
        steps = [step for text in texts for step in judge_steps(lm, text)]
        quoted, computed = zip(*steps, strict=True)
        row = {"facts": facts, "quoted": list(quoted), "computed": list(computed)}
        rows.append(row)
    return pd.DataFrame(rows)


def held_out_text(index: int, facts: int) -> str:
    """Return a passage that tells so many facts, then quotes each before it computes.

    No model that is shipped has read it.
    """
    knobs = TextKnobs(people=(facts, facts), in_turn=0, quoted=1, marks=(1, 0, 0))
    return make_passage(HELD_OUT_SEED, index, text=knobs).text


def find_steps(text: str) -> Iterator[Step]:
    """Yield the lines that quote and compute, below the facts told."""
    start = text.index("\n") + 1
    for line in text[start:].split("\n"):
        computed = COMPUTED.search(line)
        if computed:
            name, end = line.index(" "), line.index(".")
            quote = start + name, start + end + 1
            yield Step(quote, (start + computed.start(1), start + computed.end(1)))
        start += len(line) + 1


@torch.inference_mode()
def judge_steps(lm: LanguageModel, text: str) -> Iterator[tuple[int, int]]:
    """Yield of each step whether its quote and its expression are what lm would write.

    That is so where each token is the likeliest after all tokens before it.
    """
    encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]], device=lm.model.device)
    logits = lm.model(input_ids=ids).logits[0, :-1]
    hit = (logits.argmax(-1) == ids[0, 1:]).tolist()
    ends = [end for _, end in encoded["offset_mapping"][1:]]

    def right(part: tuple[int, int]) -> int:
        within = [
            h for h, end in zip(hit, ends, strict=True) if part[0] < end <= part[1]
        ]
        return int(all(within))

    for step in find_steps(text):
        yield right(step.quote), right(step.expression)
