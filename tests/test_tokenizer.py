"""The mini-GPTs' tokenizer: lossless, and a number up to 999 is one token."""

import re
import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gsmlib.data import load_problems, worlds
from gsmlib.data.schoolwork import make_passage
from gsmlib.method.tokenizer import END, PIECES, SCORE, build_tokenizer, load_tokenizer

# Fresh texts: other seeds than the vocabulary's and the pretraining's.
TEXTS = [
    "\n".join(problem)
    for split in worlds.SPLITS
    for problem in load_problems("minigsm", split, 350, seed=5)
] + [make_passage(5, index).text for index in range(600)]
TOKENIZER = load_tokenizer()
SMALL = build_tokenizer(["Ada has 3 apples."])


@pytest.mark.parametrize("tokenizer", [TOKENIZER, SMALL], ids=["shipped", "small"])
def test_minigsm_text_is_decoded_without_loss(tokenizer):
    batch = tokenizer(TEXTS)["input_ids"]
    assert tokenizer.batch_decode(batch) == TEXTS


@given(st.text(alphabet=string.printable, max_size=60))
@example("  two  spaces\n\n\tand a tab, 1,234.50%;x=<<1+2=3>> ####")
@example("000 0012 1000000 $5 5$ a1b22c333d4444")
@example("<|endoftext >< |score|")
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_any_printable_ascii_text_is_decoded_without_loss(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert SMALL.decode(SMALL.encode(text)) == text
    assert not {END, SCORE} & set(TOKENIZER.tokenize(text))


def test_every_number_up_to_999_is_one_token():
    singles = [TOKENIZER.encode(str(number)) for number in range(1000)]
    assert all(len(tokens) == 1 for tokens in singles)
    assert len({tokens[0] for tokens in singles}) == 1000
    for text in ("Ada has 72 plums.", "6*12=<<6*12=72>>72", "#### 72", "$72"):
        assert "72" in TOKENIZER.tokenize(text), text
    assert TOKENIZER.tokenize("1234567") == ["123", "456", "7"]


def test_annotations_fall_into_their_parts():
    tokens = TOKENIZER.tokenize("Eva has 6*12=<<6*12=72>>72 plums.\n#### 72")
    told = "Eva, has, ,6,*,12,=,<<,6,*,12,=,72,>>,72, plums,.,\n,####, ,72"
    assert [token.strip(" ") for token in tokens] == [
        piece.strip(" ") for piece in told.split(",")
    ]


def test_special_tokens():
    assert TOKENIZER.eos_token == TOKENIZER.pad_token == END
    ids = TOKENIZER.convert_tokens_to_ids([END, SCORE])
    assert len(set(ids)) == 2
    assert TOKENIZER.encode(f"72{END}{SCORE}")[-2:] == ids
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == ""
    assert not set(ids) & set(TOKENIZER.encode("Ada has 3 apples."))


def test_the_shipped_vocabulary_holds_all_of_minigsm():
    """No word of it is ever spelled out: pieces are tokens, one for one."""
    vocabulary = TOKENIZER.get_vocab()
    assert len(vocabulary) == len(TOKENIZER) < 2**16  # rows are kept as uint16
    for text in TEXTS[::3]:
        pieces = re.findall(PIECES, text)
        assert not set(pieces) - set(vocabulary)
        assert TOKENIZER.tokenize(text) == pieces


def test_unseen_words_are_spelled_out():
    assert TOKENIZER.encode("zyzzyva") and len(TOKENIZER.encode("zyzzyva")) > 1
    assert len(SMALL.encode(" apples")) == 1 < len(SMALL.encode(" plums"))
