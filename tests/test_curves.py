"""Completions that others made: formats, refusals, estimates, and the way back.

What other systems write is imitated in small; an export of our own stages is read again
and gives the chapter's numbers.
"""

import json
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import read_schema, read_table, write_table

from gsmlib import cli, curves
from gsmlib.chapters import find, find_figure, resolve, test_time_compute
from gsmlib.chapters.own_completions import find_samples
from gsmlib.data.samples import ORIGIN
from gsmlib.environment import project_root
from gsmlib.method import labels, metrics
from gsmlib.method.answers import INVALID, last_number, spell
from gsmlib.records import SettingsError
from gsmlib.study import handing, results, stages
from gsmlib.study.specs import SampleSpec, ScoreSpec
from gsmlib.study.store import Store

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
EXAMPLES = sorted((project_root() / "examples" / "completions").glob("*.jsonl"))


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def harness_row(number=0, texts=("It is 18.\n#### 18",), name="strict-match", **more):
    doc = {"question": f"What is {number} + 18?", "answer": f"So.\n#### {18 + number}"}
    about = {"doc_id": number, "doc": doc, "target": doc["answer"], "filter": name}
    about |= {"resps": [list(texts)], "filtered_resps": ["18"], "exact_match": 1.0}
    return about | more


def ovm_row(number=0, rights=(True, False, True), scores=(0.9, 0.4, 0.1)):
    outputs = [
        {"response": f"It is so.\nThe answer is {18 if right else 3}", "label": right}
        | {"tokens": [1, 2], "vscores": [0.5, score]}
        for right, score in zip(rights, scores, strict=True)
    ]
    return {"idx": number, "question": f"Which one? {number}", "outputs": outputs}


def released_row(number=0, right=(True, False, False, True)):
    row = {"question": f"How many? {number}", "ground_truth": "So it is.\nA: 18"}
    for system, is_correct in zip(SYSTEMS, right, strict=True):
        said = f"It is.\nA: {18 if is_correct else 4}"
        row[system] = {"is_correct": is_correct, "solution": said}
    return row


def plain_row(problem=0, sample=0, **more):
    about = {"problem": problem, "sample": sample, "text": "#### 18", "gold": "18"}
    return about | {"score": 0.5} | more


# ------------------------------------------------------------------------------ formats


def test_the_harness_filters_are_rows_of_one_completion(tmp_path):
    text = "It is $1,018.00 in all."
    rows = [
        harness_row(1000, [text], name, exact_match=right)
        for name, right in (("strict-match", 0.0), ("flexible-extract", 1.0))
    ]
    rows += [harness_row(0, name=row["filter"]) for row in rows]
    samples = curves.read(write_lines(tmp_path / "samples_gsm8k.jsonl", rows))
    assert samples.form == "lm-evaluation-harness" and len(samples.completions) == 2
    first, second = samples.completions
    assert first.correct == {"strict-match": False, "flexible-extract": True}
    assert (first.text, first.question) == (text, "What is 1000 + 18?")
    found = curves.extraction(samples).set_index("rule")["mean_accuracy"]
    assert found.to_dict() == {
        "strict": 0.5,
        "flexible": 1.0,
        "strict-match": 0.5,
        "flexible-extract": 1.0,
    }
    (row,) = curves.rows_that_differ(samples).to_dict("records")
    assert (row["row"], row["strict"], row["flexible"]) == ("line 1", INVALID, "1018")


def test_several_responses_of_the_harness_are_several_completions(tmp_path):
    row = harness_row(0, ["#### 18", "#### 3", "It is 18"])
    samples = curves.read(write_lines(tmp_path / "samples.jsonl", [row]))
    assert [each.row for each in samples.completions] == [
        f"line 1, completion {number}" for number in (1, 2, 3)
    ]
    assert all(each.correct == {} for each in samples.completions)
    assert labels.label(samples, "strict").blocks[0].correct.tolist() == [[1, 0, 0]]


def test_ovms_verifier_chooses_by_its_last_score(tmp_path):
    samples = curves.read(write_lines(tmp_path / "ovm.jsonl", [ovm_row(), ovm_row(1)]))
    assert (samples.form, samples.scores) == ("OVM", ("vscore",))
    table = curves.table(samples)
    best = table[(table["method"] == "best-of-n") & (table["n"] == 3)]
    assert best["accuracy"].item() == 1.0  # 0.9 is the score of a right one
    mean = table[(table["method"] == "random pick") & (table["n"] == 3)]
    assert mean["accuracy"].item() == pytest.approx(2 / 3)


def test_ovms_generator_has_golds_and_marks_what_has_no_answer(tmp_path):
    outputs = [
        {"response": "no end", "response_answer": "[invalid]", "label": "[invalid]"},
        {"response": "The answer is 18", "response_answer": "18", "label": True},
    ]
    row = {"idx": 0, "question": "Which?", "answer": "...", "ground_truth": "18"}
    row["outputs"] = outputs
    samples = curves.read(write_lines(tmp_path / "responses.jsonl", [row]))
    found = curves.extraction(samples).set_index("rule")["mean_accuracy"]
    assert found["given"] == found["answer column"] == found["flexible"] == 0.5
    assert found["strict"] == 0.0
    beam = row | {"response": "The answer is 18", "response_answer": "18"}
    beam |= {"label": True}
    del beam["outputs"]
    one = curves.read(write_lines(tmp_path / "beam.jsonl", [beam]))
    assert one.form == "OVM" and one.completions[0].correct == {"given": True}


def test_released_systems_are_compared_and_can_be_taken_together(tmp_path):
    rows = [released_row(0), released_row(1, (True, True, True, True))]
    samples = curves.read(write_lines(tmp_path / "released.jsonl", rows))
    pairs = curves.differences(samples)
    assert len(pairs.groupby(["a", "b"])) == 6
    first = pairs[(pairs["a"] == SYSTEMS[0]) & (pairs["b"] == SYSTEMS[1])]
    assert first["difference"].iloc[0] == 0.5 and first["n_problems"].iloc[0] == 2
    assert set(curves.table(samples)["n"]) == {1}
    assert curves.differences(curves.together(samples)).empty
    table = curves.table(curves.together(samples))
    assert table["n"].max() == 4
    at_4 = table[table["n"] == 4].set_index(["labels", "method"])["accuracy"]
    assert at_4["given", "pass^n"] == 0.5 and at_4["given", "test@n"] == 1.0
    assert at_4["strict", "random pick"] == 0.75


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_a_plain_table_is_the_same_in_every_file_format(ending, tmp_path):
    rows = [
        plain_row(
            p, s, text=f"so, {p}\n#### {18 + s}", score=p / 10 - s / 4, logprob=-s
        )
        for p in range(3)
        for s in range(2)
    ]
    path, table = tmp_path / f"mine.{ending}", pd.DataFrame(rows)
    write = {
        "jsonl": lambda: write_lines(path, rows),
        "json": lambda: path.write_text(json.dumps(rows)),
        "csv": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "parquet": lambda: table.to_parquet(path),
    }
    write[ending]()
    samples = curves.read(path)
    assert samples.scores == ("score", "logprob")
    assert [each.problem for each in samples.completions] == list("001122")
    found = curves.table(samples)
    best = found[(found["method"] == "best-of-n") & (found["n"] == 2)]
    assert (best["accuracy"] == 1.0).all() and len(best) == 2
    only = curves.read(path, ["logprob"])
    assert only.scores == ("logprob",)


def test_golds_come_from_a_file_by_question_or_by_number(tmp_path):
    golds = [{"question": "How many? 1", "answer": "#### 7"}]
    golds += [{"question": "How  many? 0", "answer": "so\n#### 18"}]
    path = write_lines(tmp_path / "golds.jsonl", golds)
    rows = [plain_row(0, question="How many? 0"), plain_row(1, question="How many? 1")]
    samples = curves.read(write_lines(tmp_path / "mine.jsonl", rows), gold=str(path))
    right = [right for _, _, right in labels.judged(samples, "strict")]
    assert right == [True, False]
    assert "right answers are those of" in samples.notes[0]
    labelled = [row | {"correct": False} for row in rows]
    path = write_lines(tmp_path / "labelled.jsonl", labelled)
    assert labels.rules_of(curves.read(path))[0] == "given"
    golds = str(tmp_path / "golds.jsonl")
    assert labels.rules_of(curves.read(path, gold=golds))[0] == "strict"
    numbered = [{"problem": 0, "gold": "18"}, {"problem": 1, "gold": 2}]
    path = write_lines(tmp_path / "numbered.jsonl", numbered)
    rows = [{"id": number, "answer": "18.0"} for number in (0, 1)]
    samples = curves.read(write_lines(tmp_path / "bare.jsonl", rows), gold=str(path))
    (block,) = labels.label(samples, "answer column").blocks
    assert block.correct.ravel().tolist() == [True, False]


def test_gsm8ks_golds_are_found_by_question_or_place(tmp_path, monkeypatch):
    from gsmlib.data import Problem, samples

    problems = [Problem(f"How many? {number}", f"#### {number}") for number in range(3)]
    monkeypatch.setattr(samples, "load_gsm8k", lambda split: problems)
    rows = [{"doc_id": 2, "answer": "2"}, {"doc_id": 0, "answer": "1"}]
    read = curves.read(write_lines(tmp_path / "mine.jsonl", rows), gold="gsm8k-test")
    assert [right for _, _, right in labels.judged(read, "answer column")] == [1, 0]


# ----------------------------------------------------------------------------- refusals

BROKEN = {  # rows, what is said
    "not json": (["{", plain_row()], ["line 1", "broken", "mend it"]),
    "no text": ([{"problem": 1, "gold": 2}], ["line 1", "no column text or answer"]),
    "no problem": ([{"text": "x"}], ["line 1", "no column problem or question"]),
    "unknown": ([{"a": 1, "b": 2}], ["line 1", "a, b: no format", "resps"]),
    "no gold": ([{"problem": 1, "text": "#### 2"}], ["--gold gsm8k-test", "correct"]),
    "a gold is missing": (
        [plain_row(), plain_row(1, gold=None)],
        ["line 2", "no right answer", "leave the row out"],
    ),
    "a score is missing": (
        [plain_row(), plain_row(1, score=None)],
        ["line 2", "score is None", "--scores"],
    ),
    "a score is nan": (
        [plain_row(), plain_row(1), plain_row(2, score=float("nan"))],
        ["line 3", "score is nan", "no finite number"],
    ),
    "a sample twice": (
        [plain_row(), plain_row(1), plain_row(0)],
        ["line 3", "sample 0 of problem '0' stands in line 1"],
    ),
    "a score is missing in the first row": (
        [{k: v for k, v in plain_row().items() if k != "score"}, plain_row(1)],
        ["line 1", "score is None", "--scores"],
    ),
    "a label is missing in the first row": (
        [plain_row(), plain_row(1, correct=True)],
        ["line 1", "no label given"],
    ),
    "a gold that is a solution": (
        [plain_row(), plain_row(1, gold="It is three.\nThe answer is 3")],
        ["line 2", "no number and no short text", "`#### answer`"],
    ),
    "a label": (
        [plain_row(correct=True), plain_row(1, correct="maybe")],
        ["line 2", "correct is 'maybe'", "true or false"],
    ),
    "a label is missing": (
        [plain_row(correct=True), plain_row(1, correct=None)],
        ["line 2", "no label given"],
    ),
    "two questions": (
        [plain_row(question="a"), plain_row(0, 1, question="b")],
        ["line 2", "another question in line 1"],
    ),
    "a gold called answer": (
        [{"question": "a", "answer": "so\n#### 3", "response": "#### 3"}],
        ["line 1", "a whole solution in answer", "call answer gold"],
    ),
    "a sample number": ([plain_row(sample="b")], ["line 1", "sample is 'b'"]),
    "choices": (
        [harness_row(resps=[[[-1.5, False]]])],
        ["line 1", "resps hold no texts", "gsm8k"],
    ),
    "two runs": (
        [harness_row(), harness_row(1), harness_row()],
        ["line 3", "doc_id 0 with filter strict-match stands there twice"],
    ),
    "two tasks": (
        [harness_row(), harness_row(texts=["#### 9"], name="none")],
        ["line 2", "other resps of doc_id 0 than in line 1"],
    ),
    "ovm without text": (
        [ovm_row(), {"idx": 1, "question": "b", "outputs": [{"label": True}]}],
        ["line 2", "no text in response"],
    ),
    "ovm half scored": (
        [ovm_row(), {"idx": 1, "outputs": [{"response": "x", "label": True}]}],
        ["line 2", "vscores in some", "score every completion"],
    ),
    "two golds": (
        [plain_row(gold="1"), plain_row(sample=1, gold="2")],
        ["line 2", "another right answer in line 1", "--gold FILE"],
    ),
    "released": (
        [released_row(), released_row(1) | {SYSTEMS[2]: {"is_correct": True}}],
        ["line 2", "no solution in 175b_finetuning"],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_with_its_row_and_the_remedy(what, tmp_path):
    rows, words = BROKEN[what]
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(SettingsError) as refused:
        curves.table(curves.read(path))
    said = str(refused.value)
    assert said.startswith("mine.jsonl, line ") and said.endswith(".")
    assert all(word in said for word in words), said


def test_a_score_column_with_a_stray_text_is_passed_over_aloud(tmp_path):
    rows = [plain_row(sample=i, score=score) for i, score in enumerate([0.1, 0.2, "x"])]
    samples = curves.read(write_lines(tmp_path / "mine.jsonl", rows))
    assert samples.scores == ()
    assert "score is not taken for a score" in samples.notes[0]
    with pytest.raises(SettingsError, match="line 3: score is 'x', no finite number"):
        curves.read(tmp_path / "mine.jsonl", scores=["score"])


def test_a_table_in_latin_1_is_refused_by_its_line(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes("problem,text,gold\n0,1,1\n0,caf\u00e9,1\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="mine.csv, line 3 is no UTF-8"):
        curves.read(path)


def test_a_problem_of_ovm_that_stands_twice_is_refused(tmp_path):
    path = write_lines(tmp_path / "ovm.jsonl", [ovm_row(), ovm_row()])
    with pytest.raises(SettingsError, match="line 2: problem .* stands in line 1"):
        curves.read(path)


def test_right_answers_by_number_alone_are_said(tmp_path):
    golds = write_lines(tmp_path / "gold.jsonl", [{"idx": 0, "answer": "#### 1"}])
    rows = [{"idx": 0, "text": "#### 1", "sample": i} for i in range(2)]
    samples = curves.read(write_lines(tmp_path / "mine.jsonl", rows), gold=str(golds))
    assert "by the problems' numbers" in samples.notes[0]


def test_a_csv_row_with_too_few_cells_is_named(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("problem,answer,gold\n0,1,1\n1,2\n")
    with pytest.raises(SettingsError, match="mine.csv, row 2: broken"):
        curves.read(path)
    path.write_text("")
    with pytest.raises(SettingsError, match="has no rows; it can hold"):
        curves.read(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["curves"], ["samples"]),
        (["curves", "nowhere.jsonl"], ["nowhere.jsonl", "name one of samples"]),
        (
            ["curves", "mine.jsonl", "--scores", "scor"],
            ["'scor' (did you mean score?)"],
        ),
        (
            ["curves", "mine.jsonl", "--gold", "none.jsonl"],
            ["none.jsonl; name one of golds, or gsm8k-test"],
        ),
        (["curves", "."], ["cannot be read", "name a file of samples"]),
        (["curves", "mine.jsonl", "mine.jsonl"], ["Two files are called mine.jsonl"]),
        (["curves", "mine.jsonl", "other.jsonl"], ["no problem in common"]),
        (["curves", "ovm.jsonl", "--scores", "x"], ["no score 'x'", "it has vscore"]),
        (["export"], ["notebook"]),
        (["export", "00"], ["There are no completions here"]),
        (["export", "03", "zz"], ["No stage's key begins with zz; there are "]),
        (
            ["export", "03", "--scale", "smoke", "-p", "epochs", "3"],
            [
                "lacks 8 of 8",
                "`gsmlib prepare 03_verification --scale smoke -p epochs 3`",
            ],
        ),
    ],
)
def test_wrong_commands_are_refused_in_a_sentence(
    arguments, words, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    write_lines(tmp_path / "mine.jsonl", [plain_row(), plain_row(1)])
    write_lines(tmp_path / "other.jsonl", [plain_row(7)])
    write_lines(tmp_path / "ovm.jsonl", [ovm_row()])
    monkeypatch.setattr(sys, "argv", ["gsmlib", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert end.value.code == 2 and printed.err.count("\n") == 1
    assert all(word in printed.err for word in words), printed.err


# ---------------------------------------------------------------------------- estimates


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_pass_n_is_the_share_of_subsets_that_are_all_right(n):
    correct = np.random.default_rng(0).random((8, 5)) < 0.6
    correct[0], correct[1] = True, False
    counted = [[all(some) for some in combinations(row, n)] for row in correct]
    expected = np.mean(counted, axis=1)
    np.testing.assert_allclose(metrics.all_right_at_n(correct, n), expected)
    mirrored = 1 - metrics.test_at_n(~correct, n)
    np.testing.assert_allclose(metrics.all_right_at_n(correct, n), mirrored)
    with pytest.raises(ValueError, match="n must lie between 1 and the 5"):
        metrics.all_right_at_n(correct, 6)


def test_each_problem_counts_with_all_of_its_completions(tmp_path):
    rng = np.random.default_rng(1)
    rights = [rng.random(m) < 0.5 for m in (3, 5, 3, 4)]
    rows = [
        plain_row(p, s, correct=bool(right), score=float(rng.random()))
        for p, of in enumerate(rights)
        for s, right in enumerate(of)
    ]
    rng.shuffle(rows)
    samples = curves.read(write_lines(tmp_path / "ragged.jsonl", rows))
    table = curves.table(samples).query("labels == 'given'")
    assert table["n"].max() == 3 and (table["n_problems"] == 4).all()
    assert "curves end at n = 3, all that 2 problems have" in "".join(
        curves.describe(samples)
    )
    scores = {(row["problem"], row["sample"]): row["score"] for row in rows}
    for n in (1, 2, 3):
        subsets = [list(combinations(range(len(of)), n)) for of in rights]
        best = [
            np.mean([of[max(some, key=lambda s, p=p: scores[p, s])] for some in subset])
            for p, (of, subset) in enumerate(zip(rights, subsets, strict=True))
        ]
        any_of = [
            np.mean([of[list(some)].any() for some in subset])
            for of, subset in zip(rights, subsets, strict=True)
        ]
        rows_of_n = table[table["n"] == n].set_index("method")["accuracy"]
        assert rows_of_n["best-of-n"] == pytest.approx(np.mean(best))
        assert rows_of_n["test@n"] == pytest.approx(np.mean(any_of))


def test_log_probabilities_weigh_votes_as_probabilities(tmp_path):
    logprobs = {"18": [-1001.0], "3": [-1002.0, -1002.5]}
    rows = [
        plain_row(answer=answer, sample=place + 10 * (answer == "3"), logprob=value)
        for answer, values in logprobs.items()
        for place, value in enumerate(values)
    ]
    rows = [
        {k: v for k, v in row.items() if k not in ("text", "score")} for row in rows
    ]
    table = curves.table(curves.read(write_lines(tmp_path / "mine.jsonl", rows)))
    at_3 = table[table["n"] == 3].set_index("method")["accuracy"]
    assert at_3["majority vote"] == 0.0
    assert at_3["weighted vote"] == 1.0  # 1 against exp(-1) + exp(-1.5)


def test_an_answer_that_is_labelled_both_ways_is_two(tmp_path):
    rows = [plain_row(0, s, correct=s == 0) for s in range(3)]
    samples = curves.read(write_lines(tmp_path / "mine.jsonl", rows))
    (block,) = labels.label(samples, "given").blocks
    assert block.answers.tolist() == [[0, 1, 1]]
    table = curves.table(samples).query("labels == 'given' and n == 3")
    assert table.set_index("method")["accuracy"]["majority vote"] == 0.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so $1,080 in all.", "1080"),
        ("It is 18.00.", "18"),
        ("from 3 to -5", "-5"),
        ("a half, .5", "0.5"),
        ("10-4", "-4"),
        ("#### 7\nso 8", "8"),
        ("none", INVALID),
        ("", INVALID),
    ],
)
def test_the_last_number_of_a_text(text, number):
    assert last_number(text) == number


def test_no_minus_stands_before_a_zero():
    row = {"samples": "a", "rule": "strict", "n": 8, "unanswered": 0.1}
    limits = ("", "_low", "_high")
    row |= {f"mean_accuracy{end}": 0.5 for end in limits}
    row |= {f"over_first{end}": -1e-5 for end in limits}
    text = curves.summary_of_extraction(pd.DataFrame([row]))
    assert "0.0 (0.0 to 0.0)" in text and "-0" not in text


def test_text_columns_are_no_scores(tmp_path):
    rows = [plain_row(p, uid=f"{p}", seed=p, done=True, grade="b") for p in range(3)]
    assert curves.read(write_lines(tmp_path / "a.jsonl", rows)).scores == ("score",)
    path = tmp_path / "a.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    assert curves.read(path).scores == ("score", "uid")  # all cells of a CSV are text
    assert curves.read(path, ["score"]).scores == ("score",)


def test_equal_answers_are_spelled_alike():
    assert spell(" $18.0 ") == spell("18") == "18"
    assert spell(r" \frac{1}{2} ") == r"\frac{1}{2}"
    assert spell(" ") == INVALID


def test_files_are_compared_on_the_problems_that_both_have(tmp_path):
    mine = [plain_row(p, question=f"q {p}", correct=p > 0) for p in range(4)]
    yours = [plain_row(p, question=f"q  {9 - p}", correct=False) for p in range(6, 9)]
    read = [
        curves.read(write_lines(tmp_path / name, rows))
        for name, rows in (("mine.jsonl", mine), ("yours.jsonl", yours))
    ]
    pairs = curves.differences(*read).set_index("method")
    assert pairs.loc["random pick", "n_problems"] == 3  # 1, 2 and 3
    assert pairs.loc["random pick", "difference"] == 1.0
    assert pairs.loc["best-of-n", "score"] == "score"


# ----------------------------------------------------------------- files and back


def test_the_command_prints_and_writes_what_can_be_redrawn(
    capsys, monkeypatch, tmp_path
):
    files = list(map(str, EXAMPLES))
    monkeypatch.setattr(sys, "argv", ["gsmlib", "curves", *files, "--out", "out"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr().out
    assert not end.value.code and len(EXAMPLES) == 3
    for words in ("(OVM): 16 problems, 4", "(lm-evaluation-harness)", "a minus b"):
        assert words in printed
    csvs = {path.name for path in (tmp_path / "out").glob("*.csv")}
    drawn = {name for name in csvs if find_figure(tmp_path / name)}
    assert drawn == {
        *(f"curves_{path.name}.csv" for path in EXAMPLES),
        "paired_completions.csv",
        "extraction_of_answers.csv",
    }
    assert csvs - drawn == {"all_rules.csv", "rows.csv"}
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    monkeypatch.setattr(sys, "argv", ["gsmlib", "figures", "out"])
    with pytest.raises(SystemExit):
        cli.main()
    assert before == {path: path.read_bytes() for path in before}


def test_the_notebook_falls_back_on_examples_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("GSM8K_DIR", str(tmp_path))
    settings = resolve("16_own_completions", scale="smollm2")
    found, said = find_samples(settings)
    assert {each.form for each in found} == {
        "a plain table",
        "OVM",
        "lm-evaluation-harness",
    }
    assert "GSM8K's files are not at hand" in said
    path = write_lines(tmp_path / "mine.jsonl", [plain_row()])
    mine = resolve("16_own_completions", scale="smoke", samples=[str(path)])
    assert [each.name for each in find_samples(mine)[0]] == ["mine.jsonl"]
    with pytest.raises(
        SettingsError, match="samples = .* is refused: there is no file"
    ):
        resolve("16_own_completions", scale="smoke", samples=["none.jsonl"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def computed(cache):
    """Chapter 06's table at smoke, and the store that it came from."""
    settings = resolve("06_test_time_compute", scale="smoke")
    store = Store(cache / "store")
    return test_time_compute.table(settings, store), store


def test_an_export_gives_the_chapters_numbers(computed, cache, capsys, monkeypatch):
    chapter, _ = computed
    monkeypatch.setenv("GSMLIB_CACHE", str(cache))
    out = cache / "out"
    command = ["gsmlib", "export", "06", "--scale", "smoke", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    (path,) = out.iterdir()
    assert not end.value.code and str(path) in capsys.readouterr().out
    samples = curves.read(path)
    assert "exported by gsmlib" in samples.notes[0]
    found = curves.table(samples).set_index(["labels", "method", "score", "n"])
    methods = {
        "test@n": ("test@n", ""),
        "majority vote": ("majority vote", ""),
        "verification": ("best-of-n", "last"),
        "weighted vote": ("weighted vote", "last"),
        "log-probability": ("best-of-n", "logprob"),
        "log-probability per token": ("best-of-n", "logprob_per_token"),
    }
    compared = 0
    for row in chapter[chapter["method"].isin(methods)].itertuples():
        key = ("given", *methods[row.method], row.n)
        if key[2] and key not in found.index:  # no score above 0: no weighted vote
            assert row.method == "weighted vote"
            continue
        ours = found.loc[key, ["accuracy", "low", "high"]].to_numpy(float)
        np.testing.assert_allclose(ours, [row.accuracy, row.low, row.high])
        compared += 1
    assert compared >= 5 * chapter["n"].nunique()


def test_an_exports_metadata_says_where_it_comes_from(computed, tmp_path):
    _, store = computed
    (spec,) = handing.handed_on(
        find("06").stages(resolve("06_test_time_compute", scale="smoke"))
    )
    (path,) = handing.write_stages([spec], store, tmp_path)
    about = json.loads(read_schema(path).metadata[ORIGIN])
    again = ScoreSpec(**about["spec"])
    assert again == spec and stages.locate(again).key == about["key"]
    assert about["key"] in path.name and about["stage"] == "score"
    assert about["version"] == stages.STAGES[ScoreSpec].version
    assert {"commit", "versions", "gsmlib"} <= set(about)


def test_completions_without_scores_are_exported_alone(computed, tmp_path):
    _, store = computed
    specs = find("06").stages(resolve("06_test_time_compute", scale="smoke"))
    drawn = [spec for spec in specs if isinstance(spec, SampleSpec)]
    assert handing.missing(drawn, store) == []
    (path,) = handing.write_stages(drawn, store, tmp_path)
    samples = curves.read(path)
    assert samples.scores == ("logprob", "logprob_per_token")
    key = stages.locate(drawn[0]).key
    assert handing.handed_on(drawn, [key[:6]]) == drawn
    assert handing.handed_on(specs, [key]) == drawn  # without their scores
    assert not set(drawn) & set(handing.handed_on(specs))
    learnt = next(s.verifier.completions for s in specs if isinstance(s, ScoreSpec))
    assert learnt not in handing.handed_on(specs)
    assert learnt in handing.handed_on(specs, every=True)
    assert handing.handed_on(specs, [stages.locate(learnt).key]) == [learnt]


@pytest.fixture
def exported(computed, tmp_path):
    """Exports of chapter 06's scores and of their completions alone; the store."""
    _, store = computed
    specs = find("06").stages(resolve("06_test_time_compute", scale="smoke"))
    scores = next(spec for spec in specs if isinstance(spec, ScoreSpec))
    both = [scores, scores.completions]
    return handing.write_stages(both, store, tmp_path / "out"), scores, store


@pytest.mark.parametrize("which", [0, 1])
def test_exported_completions_go_into_another_store(exported, tmp_path, which):
    """From the file of scores and from their own, with what they took elsewhere."""
    files, scores, store = exported
    other, spec = Store(tmp_path / "other"), scores.completions
    assert handing.take_in(files[which], other) == (spec, True)
    assert stages.is_done(spec, other) and not stages.is_done(scores, other)
    pd.testing.assert_frame_equal(
        results.sample(spec, other), results.sample(spec, store)
    )
    place = stages.locate(spec)
    assert other.spent(place) == store.spent(place)
    assert handing.take_in(files[which], other) == (spec, False)


def test_files_of_the_project_have_one_name_everywhere(tmp_path, monkeypatch):
    """From its folder, from a notebook's and by the whole path; others keep theirs."""
    inside = str(EXAMPLES[0].relative_to(project_root()))
    for folder, given in (
        (project_root(), inside),
        (project_root() / "notebooks", f"../{inside}"),
        (tmp_path, str(EXAMPLES[0])),
        (tmp_path, inside),
    ):
        monkeypatch.chdir(folder)
        settings = resolve("16_own_completions", scale="smoke", samples=[given])
        assert settings.samples == (inside,)
        (samples,), _ = find_samples(settings)
        assert samples.name == EXAMPLES[0].name
    other = write_lines(tmp_path / "other.jsonl", [harness_row()])
    settings = resolve("16_own_completions", scale="smoke", samples=["other.jsonl"])
    assert settings.samples == (str(other),)


def test_an_interrupted_sampling_gives_way_to_what_is_taken_in(exported, tmp_path):
    (_, path), scores, store = exported
    other, spec = Store(tmp_path / "other"), scores.completions
    part = other.parts(stages.locate(spec)) / "some.parquet"
    write_table(read_table(stages.folder_of(spec, store) / "completions.parquet"), part)
    assert handing.take_in(path, other) == (spec, True)
    assert not part.exists() and stages.is_done(spec, other)


def _relabel(name):
    """A change of the last completion's label or answer."""

    def change(table):
        cells = table[name].to_pylist()
        cells[-1] = not cells[-1] if name == "correct" else "17/3"
        return table.set_column(table.column_names.index(name), name, [cells])

    return change


def _ask(table):
    cells = [f"{text}?" for text in table["question"].to_pylist()]
    return table.set_column(table.column_names.index("question"), "question", [cells])


def _first(name, value):
    """A change of a column's first cell, or where that cannot stand there of all."""

    def change(table):
        cells, others = table[name].to_pylist(), [value] * len(table)
        try:
            column = pa.array([value, *cells[1:]])
        except (pa.ArrowException, TypeError):
            column = pa.array(others)
        return table.set_column(table.column_names.index(name), name, column)

    return change


def _sealed(change):
    """A change that its exporter made: what it notes of the rows is of the new ones."""

    def export(table):
        table = change(table)
        return _noted(sha256=handing._digest(table))(table)

    return export


def _noted(**values):
    """A change of what the export noted; what begins with `spec_` of the spec."""

    def change(table):
        about = json.loads(table.schema.metadata[ORIGIN])
        for name, value in values.items():
            where = about["spec"] if name.startswith("spec_") else about
            where[name.removeprefix("spec_")] = value
        return table.replace_schema_metadata({ORIGIN: json.dumps(about)})

    return change


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda table: table.slice(1), "was changed since its export"),
        (lambda table: pa.concat_tables([table] * 2), "was changed since"),
        (lambda table: table.take(list(range(len(table)))[::-1]), "was changed since"),
        (_first("text", None), "was changed since"),
        (_first("text", b"12"), "was changed since"),
        (_first("problem", 0.0), "was changed since"),
        (_first("tokens", [1]), "was changed since"),
        (_first("tokens", ["1"]), "was changed since"),
        (_first("logprob", float("inf")), "was changed since"),
        (_first("logprob", "abc"), "was changed since"),
        (_first("finished", "yes"), "was changed since"),
        (_sealed(_relabel("correct")), "another label of problem"),
        (_sealed(_relabel("answer")), "another label of problem"),
        (_ask, "another problem 0 than here"),
        (lambda table: table.drop_columns(["tokens"]), "an earlier version"),
        (lambda table: table.replace_schema_metadata(None), "was not written by"),
        (_noted(spec_seed=5), "sample them anew"),
        (_noted(stage="other"), "sample them anew"),
        (_noted(stage=["sample"]), "was not written by"),
        (_noted(spent=[1.0]), "was not written by"),
        (_noted(spent={"CPU": "long"}), "was not written by"),
        (_noted(spent={"CPU": float("nan")}), "was not written by"),
        (_noted(spent={"CPU": -1.0}), "was not written by"),
        (_noted(spent={"CPU": True}), "was not written by"),
        (_noted(stage="train_verifier"), "sample them anew"),
        (_noted(spec_n=0), "cannot be imported here: n: .*greater than"),
        (_noted(spec_bogus=0), "cannot be imported here: bogus: "),
    ],
)
def test_other_files_are_not_taken_in(exported, tmp_path, change, sentence):
    (_, path), scores, _ = exported
    other = Store(tmp_path / "other")
    write_table(change(read_table(path)), path)
    with pytest.raises(SettingsError, match=sentence):
        handing.take_in(path, other)
    assert not stages.is_done(scores.completions, other)


def test_a_damaged_file_is_named(exported, tmp_path):
    (_, path), _, _ = exported
    data = bytearray(path.read_bytes())
    for begin in (100, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:begin] + bytes(50) + data[begin + 50 :])
        with pytest.raises(SettingsError, match=f"{path.name} (cannot|was)"):
            handing.take_in(path, Store(tmp_path / "other"))


def test_completions_do_not_wait_for_their_verifiers_version(exported, tmp_path):
    """Scores of another version are another thing; what they were given is the same."""
    (path, _), scores, _ = exported
    table = read_table(path)
    about = json.loads(table.schema.metadata[ORIGIN]) | {"key": "of before"}
    write_table(table.replace_schema_metadata({ORIGIN: json.dumps(about)}), path)
    assert handing.take_in(path, Store(tmp_path / "o")) == (scores.completions, True)


def test_import_says_what_it_took_and_goes_on(exported, tmp_path, monkeypatch, capsys):
    (_, path), _, _ = exported
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    missing, broken = tmp_path / "no.parquet", tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    given = [missing, tmp_path, broken, path, path]
    monkeypatch.setattr(sys, "argv", ["gsmlib", "import", *map(str, given)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert end.value.code and "3 of 5 files were not taken" in printed.err
    said = printed.out.splitlines()
    beginnings = [f"{missing} cannot", f"{tmp_path} is a", f"{broken} cannot"]
    beginnings += ["Taken: ", "There already: "]
    assert len(said) == 5
    assert all(a.startswith(b) for a, b in zip(said, beginnings, strict=True))


@pytest.mark.parametrize("unnamed", ["", "Unnamed: 0"])
def test_an_index_that_pandas_wrote_is_no_column(unnamed, tmp_path):
    rows = {unnamed: [0, 1], "problem": ["a", "b"], "answer": ["3", "4"]}
    rows |= {"gold": ["3", "5"], "score": [0.5, 0.25]}
    file = tmp_path / "indexed.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    samples = curves.read(file)
    found = curves.table(samples)
    assert set(found["score"].dropna()) - {""} == {"score"}
    one = found[(found["method"] == "test@n") & (found["n"] == 1)]
    assert one["accuracy"].iloc[0] == 0.5
