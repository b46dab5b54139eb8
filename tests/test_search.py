"""Search guided by a verifier: against a slow one, its stage, the chapter."""

import shutil
import zlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_byte_tokenizer, make_tiny_gpt2
from matplotlib import pyplot as plt

from gsmlib.chapters import guided_search, resolve, shared
from gsmlib.chapters.guided_search import CHAPTER
from gsmlib.chapters.guided_search.grid import (
    BEST_OF_N,
    BY_LINES,
    CHOICES,
    ORACLE,
    OTHERS,
    SEARCH,
    SHUFFLED,
    _compared,
    between,
)
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.data import load_problems
from gsmlib.data.checker import right_so_far
from gsmlib.method import decoding, metrics
from gsmlib.method.decoding import (
    Rules,
    choose_tokens,
    encode_prompt,
    greedy,
    hash_address,
    uniform,
)
from gsmlib.method.models import LanguageModel
from gsmlib.method.search import Beams, Path, _keep, search
from gsmlib.records import SettingsError
from gsmlib.study import making, parts, results, stages
from gsmlib.study.specs import SearchSpec
from gsmlib.study.store import Store

QUESTIONS = ["Q one?", "A second question, longer?", "Third"]
RULES = Rules(0.9, 3, max_length=60)


@pytest.fixture(scope="module")
def lm():
    tokenizer = make_byte_tokenizer()
    return LanguageModel(make_tiny_gpt2(tokenizer), tokenizer)


@pytest.fixture
def many_lines(monkeypatch):
    """Every eighth token ends a line, so that searches have many steps."""
    usual = decoding.mark_tokens

    def marked(tokenizer, size):
        equals, breaks = usual(tokenizer, size)
        return equals, breaks | (np.arange(size) % 8 == 5)

    monkeypatch.setattr(decoding, "mark_tokens", marked)


def judge(questions, prefixes):
    """A score of each prefix that depends on its tokens and question alone."""
    return [
        [zlib.crc32(f"{question} {list(tokens)}".encode()) / 2**32 for tokens in some]
        for question, some in zip(questions, prefixes, strict=True)
    ]


def slow_line(lm, prompt, tokens, address):
    """One line, token by token, every forward pass anew."""
    newline = lm.tokenizer.encode("\n")[0]
    line = []
    while True:
        ids = torch.tensor([[*prompt, *tokens, *line]])
        with torch.inference_mode():
            logits = lm.model(ids).logits[:, -1]
        at = uniform(np.array([address]), np.array([len(line)]))
        token = int(choose_tokens(logits, RULES.temperature, at)[0])
        line.append(token)
        full = len(prompt) + len(tokens) + len(line) >= RULES.max_length
        if token == lm.tokenizer.eos_token_id or full:
            return line, True
        if token == newline or token % 8 == 5:
            return line, False


def slow_search(lm, question, number, width, branching):
    """One problem, one candidate at a time."""
    prompt, kept, written, line = (
        encode_prompt(lm.tokenizer, question),
        [((), False)],
        0,
        0,
    )
    while not all(ended for _, ended in kept):
        going_on = [tokens for tokens, ended in kept if not ended]
        each = branching * (1 if line else width)
        pool = [tokens for tokens, ended in kept if ended]
        ended_ones = set(pool)
        for slot in range(each * len(going_on)):
            tokens = going_on[slot // each]
            address = hash_address(RULES.seed, number, line, slot)
            more, ended = slow_line(lm, prompt, tokens, address)
            written += len(more)
            longer = (*tokens, *more)
            if longer not in pool:
                pool.append(longer)
            if ended:
                ended_ones.add(longer)
        scores = judge([question], [pool])[0]
        order = sorted(range(len(pool)), key=lambda i: -scores[i])[:width]
        kept = [(pool[i], pool[i] in ended_ones) for i in order]
        line += 1
    return [list(tokens) for tokens, _ in kept], written, line


@pytest.mark.parametrize(("width", "branching"), [(1, 1), (2, 3), (3, 2)])
def test_a_search_is_what_it_says_one_candidate_at_a_time(
    lm, width, branching, many_lines
):
    rules = RULES._replace(calculator=False)
    found = search(lm, judge, QUESTIONS, Beams(width, branching), rules, [0, 5, 9])
    most = 0
    for question, number, searched in zip(QUESTIONS, [0, 5, 9], found, strict=True):
        expected, written, lines = slow_search(lm, question, number, width, branching)
        assert [c.tokens for c in searched.completions] == expected
        assert searched.written == written and searched.scores[0] == max(
            searched.scores
        )
        most = max(most, lines)
    assert most > 2  # lines, so that something was searched


def test_a_search_is_the_same_alone(lm):
    together = search(lm, judge, QUESTIONS, Beams(2, 2), RULES, [0, 5, 9])
    (alone,) = search(lm, judge, QUESTIONS[1:2], Beams(2, 2), RULES, [5])
    assert alone.completions[0].tokens == together[1].completions[0].tokens
    assert alone.written == together[1].written
    other = search(lm, judge, QUESTIONS[1:2], Beams(2, 2), RULES, [6])
    assert other[0].completions[0].tokens != alone.completions[0].tokens


def test_one_prefix_at_temperature_0_is_the_greedy_solution(lm):
    rules = Rules(0.0, 0, max_length=60)
    found = search(lm, judge, QUESTIONS, Beams(1, 1), rules, [0, 1, 2])
    for searched, plain in zip(
        found, greedy(lm, QUESTIONS, max_length=60), strict=True
    ):
        (only,) = searched.completions
        assert only.tokens == plain.tokens and only.forced == plain.forced
        assert only.logprob == pytest.approx(plain.logprob, abs=1e-4)
        assert only.finished == plain.finished and searched.written == len(only.tokens)


def test_equal_continuations_are_judged_once(lm):
    asked = []

    def noting(questions, prefixes):
        asked.extend(len(some) for some in prefixes)
        for some in prefixes:
            assert len(set(map(tuple, some))) == len(some)
        return judge(questions, prefixes)

    search(
        lm, noting, QUESTIONS, Beams(2, 3), RULES._replace(temperature=0.0), [0, 1, 2]
    )
    assert set(asked) == {1}  # at temperature 0 all continuations are the same


def test_of_equal_prefixes_any_is_kept():
    """Lest all that an oracle keeps goes on from one."""
    scores = (1.0, 1.0, 0.0, 1.0, 2.0)
    paths = [Path((place,), score=score) for place, score in enumerate(scores)]
    kept = Counter()
    for line in range(300):
        found = _keep(paths, Beams(3, 2), hash_address(1, 0, line))
        assert found[0].score == 2 and all(path.score for path in found)
        kept.update(path.tokens for path in found)
    assert kept[(4,)] == 300 and kept[(2,)] == 0
    assert all(150 < kept[(place,)] < 250 for place in (0, 1, 3))


def test_shuffled_scores_keep_any_but_the_result_is_the_best_kept(lm):
    usual = search(lm, judge, QUESTIONS, Beams(3, 2), RULES, [0, 5, 9])
    floor = search(lm, judge, QUESTIONS, Beams(3, 2, True), RULES, [0, 5, 9])
    assert [s.scores for s in usual] != [s.scores for s in floor]
    for question, searched in zip(QUESTIONS, floor, strict=True):
        tokens = [c.tokens for c in searched.completions]
        assert searched.scores == judge([question], [tokens])[0]
        assert searched.scores == sorted(searched.scores, reverse=True)


def test_a_guide_that_knows_gets_what_it_wants(lm):
    def short(questions, prefixes):
        return [[-len(tokens) for tokens in some] for some in prefixes]

    def mean(found):
        return np.mean([len(s.completions[0].tokens) for s in found])

    lengths = [
        mean(search(lm, short, QUESTIONS, Beams(2, n), RULES, [0, 1, 2]))
        for n in (1, 6)
    ]
    shuffled = search(lm, short, QUESTIONS, Beams(2, 6, True), RULES, [0, 1, 2])
    assert lengths[1] <= lengths[0] and lengths[1] <= mean(shuffled)


# ------------------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def settings():
    return resolve("15_guided_search", scale="smoke")


@pytest.fixture(scope="module")
def made(settings, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return store, guided_search.table(settings, store)


def test_rows_are_labelled_and_scored_as_completions_are(settings, made):
    store, _ = made
    specs = guided_search.grid(settings)[0].specs
    spec = specs[f"{SEARCH} 4"]
    found = results.sample(spec, store)
    assert set(found["problem"]) == set(range(settings.test_problems))
    assert (found.groupby("problem")["written"].nunique() == 1).all()
    problems = stages.sampled_problems(spec)
    from gsmlib.method.answers import is_correct
    from gsmlib.method.verifier import score_completions

    verifier, tokenizer = results.load_verifier(spec.verifier, store)
    for row in found.itertuples():
        assert row.correct == is_correct(row.text, problems[row.problem].solution)
        question = problems[row.problem].question
        scores = score_completions(
            verifier, tokenizer, [question], [[row.tokens]], batch_tokens=512
        )
        assert row.score == pytest.approx(float(scores[0][0][-1]), abs=1e-4)


def test_a_killed_search_goes_on_and_ends_the_same(
    settings, made, tmp_path, monkeypatch
):
    store, _ = made
    spec = guided_search.grid(settings)[0].specs[f"{SEARCH} 2"]
    expected = results.sample(spec, store)
    monkeypatch.setattr(parts, "SAVE_SECONDS", 0)
    monkeypatch.setitem(making.TOGETHER, SearchSpec, 2)
    find, searched = making.find_solutions, []

    def fail_late(lm, score, questions, *rest):
        if len(searched) >= 4:
            raise KeyboardInterrupt
        searched.extend(questions)
        return find(lm, score, questions, *rest)

    monkeypatch.setattr(making, "find_solutions", fail_late)
    with pytest.raises(KeyboardInterrupt):
        making.search(spec, store, tmp_path)
    assert 0 < len(searched) < settings.test_problems
    left = settings.test_problems - len(searched)
    searched.clear()
    making.search(spec, store, tmp_path)
    assert len(searched) == left  # what was done is not done again
    again = pd.read_parquet(tmp_path / stages.COMPLETIONS)
    columns = ["problem", "sample", "text", "correct", "written"]
    pd.testing.assert_frame_equal(
        again[columns].reset_index(drop=True), expected[columns].reset_index(drop=True)
    )


def test_a_search_in_shards_is_the_same(settings, made, tmp_path, monkeypatch):
    store, _ = made
    spec = guided_search.grid(settings)[0].specs[f"{SEARCH} 2"]
    other = Store(tmp_path)
    for parent in (spec.verifier, spec.generator):
        place = stages.folder_of(parent, other)
        shutil.copytree(stages.folder_of(parent, store), place)
    for shard in (2, 0, 1):
        making.compute_shard(spec, other, shard, 3)
    monkeypatch.setattr(making, "find_solutions", None)  # all is there
    columns = ["problem", "sample", "text", "correct", "written"]
    drawn = [results.sample(spec, where)[columns] for where in (other, store)]
    pd.testing.assert_frame_equal(*drawn)


def test_searches_are_of_the_verifier_of_03(settings):
    specs = guided_search.grid(settings)[0].specs
    (base,) = shared.each_seed(settings)
    assert specs["scores"] == shared.verified(settings, base)
    for name, spec in specs.items():
        if isinstance(spec, SearchSpec):
            lines = specs["scores"].verifier.replace(
                training=spec.verifier.training.replace(level="line"), labels="process"
            )
            usual = lines if name == BY_LINES else specs["scores"].verifier
            assert spec.verifier == usual
            assert spec.shuffled == (name == SHUFFLED)
            assert spec.oracle == (name == ORACLE)
    own = dict(scale="smollm2", dataset="gsm8k")
    there = guided_search.grid(resolve("15_guided_search", **own))[0].specs
    assert not {BY_LINES, ORACLE} & set(there)
    with pytest.raises(SettingsError, match="candidates 3 are no multiple of branch"):
        resolve("15_guided_search", scale="smoke", candidates=[3])


def test_the_study_at_smoke(settings, made):
    _, table = made
    searches = table[table["method"].str.startswith(SEARCH)]
    assert len(searches) == len(settings.candidates) + len(OTHERS)
    assert {v.verdict for v in CHAPTER.judge("search", table)} == {NOT_TESTABLE}
    plt.close(CHAPTER.draw("search", table))


# -------------------------------------------------------------------- the comparison


def test_a_search_is_compared_at_its_own_cost():
    rng = np.random.default_rng(0)
    correct = (rng.random((40, 8)) < 0.4).astype(float)
    answers = np.where(correct > 0, 0, rng.integers(1, 4, correct.shape))
    drawn = shared.Completions(
        answers, correct, rng.random(correct.shape), correct, correct
    )
    solved, cost = (rng.random(40) < 0.7).astype(float), np.full(40, 25.0)
    found = {"correct": solved, "score": rng.random(40), "written": cost}
    columns = _compared(found, drawn, 10)
    best = [metrics.verified_at_n(drawn.scores, correct, n) for n in (2, 3)]
    expected = solved.mean() - (best[0] + best[1]).mean() / 2  # 2.5 completions
    assert columns["over_best_of_n"].mean == pytest.approx(expected)
    none = [1 - metrics.test_at_n(correct, n) for n in (2, 3)]
    assert columns["new"].mean == pytest.approx((solved * sum(none) / 2).mean())
    wrong = (found["score"] >= 0.5) & (solved == 0)
    assert columns["fooled"].mean == pytest.approx(wrong.mean())
    costly = _compared(found | {"written": cost * 10}, drawn, 10)
    assert np.isnan(costly["over_best_of_n"].mean)  # 25 were not drawn


def test_the_oracle_sees_how_far_a_solution_is_right():
    for question, solution in load_problems("minigsm", "dev", 30):
        lines = solution.split("\n")
        for place in range(1, len(lines)):
            assert right_so_far(question, "\n".join(lines[:place]) + "\n")
        assert right_so_far(question, solution)
        assert not right_so_far(question, f"{solution}1")
        assert not right_so_far(question, f"{lines[0][:-2]}\n")


def test_between_whole_numbers_of_completions():
    assert between(lambda n: n * 10.0, 3) == 30
    assert between(lambda n: n * 10.0, 3.25) == pytest.approx(32.5)


# ------------------------------------------------------------------------- the verdicts


def with_limits(name, value, half):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def searches_table(
    gain=0.05,
    oracle=0.2,
    shuffled=0.1,
    half=0.02,
    checks=0.1,
    problems=200,
    accuracy=0.5,
    drawn=True,
):
    rows = []
    for seed in range(3):
        about = {"seed": seed, "n_problems": problems, "dataset": "minigsm"}
        for method in CHOICES:
            for n in (1, 4, 16):
                row = about | {"method": method, "n": n, "tokens": 80.0 * n}
                row |= {"accuracy": accuracy, "low": accuracy, "high": accuracy}
                if method == BEST_OF_N:
                    row |= with_limits("fooled", 0.2, 0.05)
                    row |= with_limits("over_random", checks, 0.02)
                rows.append(row)
        for method, n in ((SEARCH, 4), (SEARCH, 8), *((other, 8) for other in OTHERS)):
            row = about | {"method": method, "n": n, "tokens": 90.0 * n}
            row |= {"accuracy": accuracy, "low": accuracy, "high": accuracy}
            row |= with_limits("over_random", -0.1, 0.02)  # of the search alone
            row |= with_limits("fooled", 0.2, 0.05)
            known = drawn or n == 4
            over = oracle if method == ORACLE else gain
            row |= with_limits("over_best_of_n", over if known else np.nan, half)
            row |= with_limits("over_vote", gain if known else np.nan, half)
            if (method, n) == (SEARCH, 8):
                row |= with_limits("over_shuffled", shuffled, half)
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(gain=0.0, half=0.01), NOT_REPRODUCED),
        (dict(gain=0.01, half=0.005), NOT_REPRODUCED),  # a tie is a result
        (dict(gain=-0.05), REVERSED),
        (dict(gain=0.02, half=0.05), INCONCLUSIVE),
        (dict(checks=0.01), NOT_TESTABLE),
        (dict(oracle=0.01), NOT_TESTABLE),  # nobody could guide
        (dict(accuracy=0.01), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
    ],
)
def test_g1(settings, verdict):
    found, _ = CHAPTER.judge("search", searches_table(**settings))
    assert (found.id, found.verdict) == ("G1", verdict)


def test_g1_is_of_the_widest_search_with_something_to_compare():
    found, _ = CHAPTER.judge("search", searches_table())
    assert "with 8 candidates a line" in found.sentence
    found, _ = CHAPTER.judge("search", searches_table(drawn=False))
    assert "with 4 candidates a line" in found.sentence


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(shuffled=0.0, half=0.01), NOT_REPRODUCED),
        (dict(shuffled=-0.1), REVERSED),
        (dict(checks=0.01), NOT_TESTABLE),
    ],
)
def test_g2(settings, verdict):
    _, found = CHAPTER.judge("search", searches_table(**settings))
    assert (found.id, found.verdict) == ("G2", verdict)


def test_every_method_is_drawn_at_its_cost():
    top, bottom = CHAPTER.draw("search", searches_table()).axes
    labels = top.get_legend_handles_labels()[1]
    assert {SEARCH, SHUFFLED, "majority vote", "test@n, the ceiling"} <= set(labels)
    curves = {c.get_label(): c.lines[0].get_xdata() for c in top.containers}
    assert curves[SEARCH] == pytest.approx([360, 720])
    assert len(bottom.containers) == 4 and len(top.containers) == 5
