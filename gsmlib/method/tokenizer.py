"""The mini-GPTs' tokenizer: whole words, and every number up to 999 as ONE token.

Words carry their leading space; what is not in the vocabulary falls back to single
characters, so any printable ASCII text is encoded and decoded without loss. Any other
character becomes the token UNKNOWN, never the end of the text.
"""

import re
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gsmlib.method.sizes import TOKENIZER_FILE

END, SCORE = "<|endoftext|>", "<|score|>"
UNKNOWN = "\x0b"  # the vertical tab: of all that is in the vocabulary no text has it
# A token candidate: word or sign with its leading space, a number without it.
PIECES = r" ?[A-Za-z]+| ?<<|>>| ?####|[0-9]{1,3}| ?[^\sA-Za-z0-9]|\s"


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Vocabulary of all pieces in `texts`, all numbers to 999 and printable ASCII."""
    pieces = set(string.printable) | {str(number) for number in range(1000)}
    for text in texts:
        pieces.update(re.findall(PIECES, text))
    ordered = [END, SCORE, *sorted(pieces)]
    vocabulary = {piece: index for index, piece in enumerate(ordered)}
    model = models.WordPiece(
        vocabulary,
        unk_token=UNKNOWN,
        continuing_subword_prefix="",
        max_input_chars_per_word=10_000,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrap(tokenizer)


def load_tokenizer() -> PreTrainedTokenizerFast:
    """The shipped tokenizer of the mini-GPT family."""
    return _wrap(Tokenizer.from_file(str(TOKENIZER_FILE)))


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.model.unk_token = UNKNOWN  # the shipped file says END; keys hold its sum
    # not unk_token below, which would change how what models write is decoded
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[SCORE],
        clean_up_tokenization_spaces=False,
    )
