"""Code that gives other results under an old version would mix old and new."""

import json

import pytest
import stage_code
from stage_code import complaints, current_code, digest


def test_the_code_of_every_stage_is_the_noted_one():
    known = json.loads(stage_code.FILE.read_text())
    assert not complaints(known, current_code())


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('def f(x):\n    """Other words."""\n    return x + 1  # why\n', True),
        ("def f(x):\n    return (\n        x + 1\n    )\n", False),  # told apart: safe
        ("def f(x):\n\n    return x  +  1\n", True),
        ('def f(x):\n    """Words."""\n    return x + 2\n', False),
        ('def f(x):\n    """Words."""\n    return x - 1\n', False),
    ],
)
def test_only_what_computes_counts(source, same):
    plain = 'def f(x):\n    """Words."""\n    return x + 1\n'
    assert (digest(source) == digest(plain)) == same


def test_a_hash_in_a_text_is_no_comment():
    assert digest('x = "####"  # a mark\n') == digest('x = "####"\n')
    assert digest('x = "#### a"\n') != digest('x = "#### b"\n')


def test_a_change_names_its_stages_and_what_to_do():
    now = current_code()
    known = json.loads(json.dumps(now))
    known["sample"]["code"]["decoding"] = "0"
    (sentence,) = complaints(known, now)
    assert "stage sample" in sentence and "(decoding)" in sentence
    assert "VERSIONS" in sentence and "make versions" in sentence


def test_a_version_raised_in_silence_is_noticed():
    now = current_code()
    known = json.loads(json.dumps(now))
    known["score"]["version"] += 1
    assert len(complaints(known, now)) == 1
