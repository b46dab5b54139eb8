"""Verifiers of the released solutions: halves, rows, a planted effect, the figure."""

import hashlib
import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from conftest import make_byte_tokenizer, make_tiny_gpt2
from matplotlib import pyplot as plt

from gsmlib import progress
from gsmlib.chapters import released_solutions, resolve, shared
from gsmlib.chapters.released_solutions import CHAPTER
from gsmlib.chapters.released_solutions.grid import (
    ANY,
    ERRORS,
    HALVES,
    LIKELY,
    NOTHING,
    planted_grid,
    released_grid,
)
from gsmlib.data import GSM8K_PROBLEMS
from gsmlib.data.gsm8k import FILES, SOLUTIONS_FILE, SYSTEMS, DataFile
from gsmlib.method import losses, metrics
from gsmlib.method.answers import is_correct
from gsmlib.method.batching import encode
from gsmlib.records import SettingsError
from gsmlib.study import parts, pool, results, stages
from gsmlib.study.checks import check_specs
from gsmlib.study.specs import ReleasedSpec
from gsmlib.study.store import Store

NOTEBOOK = "12_released_solutions"
PROBLEMS = 60
ARMS = [*product(("token", "solution"), ("joint", "verification only"))]
RIGHT, WRONG = "so it is", "but well"  # what a verifier can see


def problem_row(i):
    two, value = f"{i}+{i % 7}", i + i % 7
    solution = f"{two}=<<{two}={value}>>{value}\n#### {value}"
    return {"question": f"{two}?", "answer": solution}


def released_row(i, rng):
    row = {"question": problem_row(i)["question"], "ground_truth": f"A: {i + i % 7}"}
    for system in SYSTEMS:
        right = bool(rng.random() < 0.4)
        said = f"{RIGHT if right else WRONG}\nA: {i + i % 7 + (not right)}"
        row[system] = {"is_correct": right, "solution": said}
    return row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """GSM8K's files in its format, of made-up problems; and a model that reads them."""
    path, rng = tmp_path_factory.mktemp("gsm8k"), np.random.default_rng(0)
    rows = {
        "train.jsonl": [problem_row(i + 2000) for i in range(7473)],
        "test.jsonl": [problem_row(i) for i in range(GSM8K_PROBLEMS["test"])],
        SOLUTIONS_FILE: [released_row(i, rng) for i in range(GSM8K_PROBLEMS["test"])],
    }
    patch = pytest.MonkeyPatch()
    for name, made in rows.items():
        data = "".join(json.dumps(row) + "\n" for row in made).encode()
        (path / name).write_bytes(data)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        patch.setitem(FILES, name, DataFile(len(made), digest, FILES[name].keys))
    tokenizer = make_byte_tokenizer()
    make_tiny_gpt2(tokenizer).save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    patch.setenv("GSM8K_DIR", str(path))
    yield path
    patch.undo()


@pytest.fixture(scope="module")
def settings(folder):
    return resolve(
        NOTEBOOK,
        scale="smollm2",
        model=str(folder / "model"),
        n_train=20,
        released_problems=PROBLEMS,
        more="precision=fp32 verifier_epochs=12 verifier_learning_rate=0.01 "
        "learning_rate=0.001 max_length=60 released_length=60 "
        "verifier_batch_tokens=1500 epochs=1",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def table(settings, store):
    return released_solutions.table(settings, store)


def test_no_problem_is_judged_by_a_verifier_that_saw_it(settings):
    grid = released_solutions.grid(settings)
    assert len(grid) == len(ARMS) + len(ARMS) + 1
    for _, specs in grid:
        for half, spec in specs.items():
            assert spec.completions.half == half
            assert spec.verifier.completions.half == HALVES[half] != half
            learnt = stages.released_places(spec.verifier.completions)
            judged = stages.released_places(spec.completions)
            assert not set(learnt) & set(judged)
            assert sorted([*learnt, *judged]) == list(range(PROBLEMS))


def test_completions_are_the_released_ones(settings, store, table, folder):
    spec = released_solutions.grid(settings)[0].specs["odd"].completions
    rows = results.sample(spec, store)
    released = [json.loads(line) for line in (folder / SOLUTIONS_FILE).open()]
    problems = stages.sampled_problems(spec)
    questions = [released[2 * i + 1]["question"] for i in range(len(problems))]
    assert [problem.question for problem in problems] == questions
    lm = results.load_finetuned(spec.generator, spec.epoch, store)
    for row in rows.itertuples():
        number = 2 * row.problem + 1
        theirs = released[number][SYSTEMS[row.sample]]
        assert row.correct == theirs["is_correct"]
        assert row.text == theirs["solution"].replace("A: ", "#### ")
        assert lm.tokenizer.decode(row.tokens[:-1]) == row.text
        assert row.tokens[-1] == lm.tokenizer.eos_token_id and row.finished
    whole = encode(lm.tokenizer, problems[0].question, rows["text"][0], 60)
    (nats,), _ = losses.evaluate_losses(lm, [whole])
    assert rows["logprob"][0] == pytest.approx(-nats)


def test_what_was_read_is_not_read_again(settings, store, table, monkeypatch):
    from gsmlib.study import making

    spec = released_solutions.grid(settings)[0].specs["odd"].completions
    work, read = store.root / "again", []
    (work / "resume").mkdir(parents=True)
    half = results.sample(spec, store).query("problem < 10").to_dict("records")
    parts.write_part(half, work / "resume")
    usual = making._read_released

    def note(*arguments):
        read.extend(place for place, *_ in arguments[-1])
        return usual(*arguments)

    monkeypatch.setattr(making, "_read_released", note)
    making.released(spec, store, work)
    assert read == list(range(8, PROBLEMS // 2))  # 8 and 9 with those beside them
    again = pd.read_parquet(work / stages.COMPLETIONS)
    pd.testing.assert_frame_equal(again, results.sample(spec, store))


def test_reading_them_tells_how_far_it_is(settings, tmp_path):
    spec, told = released_solutions.grid(settings)[0].specs["odd"].completions, []
    results.load_finetuned(spec.generator, spec.epoch, Store(tmp_path))
    with progress.under(lambda share, _: told.append(share)):
        results.sample(spec, Store(tmp_path))
    ends = [*range(8, spec.n_problems, 8), spec.n_problems]
    assert told == pytest.approx([end / spec.n_problems for end in ends])


def test_a_planted_effect_is_seen(table):
    """Right and wrong solutions differ in their words: all verifiers learn it."""
    by_choice = table.set_index("choice")
    verifiers = by_choice[by_choice["kind"] == "verifier"]
    assert len(verifiers) == len(ARMS)
    ceiling = by_choice.loc["any of the four", "accuracy"]
    assert (verifiers["accuracy"] > ceiling - 0.05).all()
    assert (verifiers["within_auc"] > 0.9).all()
    assert (verifiers["adjusted_auc"] > 0.9).all()
    assert (verifiers["over_175b_verification_low"] > 0).all()


def test_choices_are_the_metrics_of_both_halves(settings, store, table):
    specs = released_solutions.grid(settings)[0].specs
    runs = [shared.scores_and_labels(spec, store) for spec in specs.values()]
    scores, correct = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    rows = table.set_index("choice")
    row = rows.loc["token-level, joint"]
    best = correct[np.arange(PROBLEMS), scores.argmax(axis=1)]
    assert row["accuracy"] == pytest.approx(best.mean())
    assert row["over_random"] == pytest.approx(best.mean() - correct.mean())
    auc = np.nanmean(metrics.within_problem_auc(scores, correct))
    assert row["within_auc"] == pytest.approx(auc)
    top = scores == scores.max(axis=1, keepdims=True)  # equal texts share a problem
    theirs = (top[:, SYSTEMS.index("175b_verification")] / top.sum(axis=1)).mean()
    assert row["best_picked"] == pytest.approx(theirs)
    for place, system in enumerate(SYSTEMS):
        alone = rows.loc[system.replace("b_", "B "), "accuracy"]
        assert alone == pytest.approx(correct[:, place].mean())
    assert (table["n_problems"] == PROBLEMS).all()


def test_choices_without_a_verifier_are_what_they_are_called(settings, store, table):
    """Against loops over problems; which system is better comes from the other half."""
    specs = released_solutions.grid(settings)[0].specs
    read = {
        half: results.sample(spec.completions, store) for half, spec in specs.items()
    }
    solved = {"the better system": [], "majority, ties to the better system": []}
    for half, rows in read.items():
        other = read[HALVES[half]].groupby("sample")["correct"].mean()
        for _, four in rows.groupby("problem"):
            four = four.set_index("sample")
            agree = {s: (four["answer"] == a).sum() for s, a in four["answer"].items()}
            best = max(agree, key=lambda s: (agree[s], other[s]))
            solved["majority, ties to the better system"].append(four["correct"][best])
            solved["the better system"].append(four["correct"][other.idxmax()])
    rows = table.set_index("choice")
    for choice, of in solved.items():
        assert rows.loc[choice, "accuracy"] == pytest.approx(np.mean(of))
    vote = rows.loc["majority, ties to the better system"]
    assert vote["over_vote"] == 0 and 0 < vote["within_auc"] < 1
    assert rows.loc["the better system", "adjusted_auc"] == pytest.approx(0.5)
    gained = rows["accuracy"] - vote["accuracy"]
    np.testing.assert_allclose(rows["over_vote"], gained, atol=1e-9)
    for place, system in enumerate(SYSTEMS):
        of = [rows["correct"][rows["sample"] == place] for rows in read.values()]
        alone = np.concatenate(of).mean()
        np.testing.assert_allclose(rows[f"over_{system}"], rows["accuracy"] - alone)


def test_a_token_level_verifier_is_also_asked_for_its_mean(settings, store, table):
    rows = table.set_index("choice")
    variants = set(table.loc[table["kind"] == "variant", "choice"])
    arms = {f"{level}-level, {objective}" for level, objective in ARMS}
    means = {f"{arm}: mean score" for arm in arms if arm.startswith("token")}
    assert variants == means | {"token-level, joint: weighted vote"}
    specs = released_solutions.grid(settings)[0].specs
    runs = [shared.scores_and_labels(spec, store, "mean") for spec in specs.values()]
    scores, correct = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    auc = np.nanmean(metrics.within_problem_auc(scores, correct))
    row = rows.loc["token-level, joint: mean score"]
    assert row["within_auc"] == pytest.approx(auc)


def test_arms_differ_in_level_and_objective_alone(settings):
    found = {}
    for about, specs in released_grid(settings):
        training = specs["even"].verifier.training
        found[about["level"], about["objective"]] = training
    assert list(found) == ARMS
    usual = found["token", "joint"]
    for (level, objective), training in found.items():
        changed = {name for name, value in training if value != getattr(usual, name)}
        expected = {"level"} if level == "solution" else set()
        if objective == "verification only":
            expected |= {"language_weight", "batch_tokens"}
        assert changed == expected


def test_fewer_verifiers_are_the_same_ones(settings, store, table):
    """The kinds that are asked for alone, first the one that also votes."""
    few = settings.replace(levels=("token",), objectives=("verification only",))
    found = released_solutions.table(few, store)
    arm = "token-level, verification only"
    named = [arm, f"{arm}: mean score", f"{arm}: weighted vote"]
    mine = found["kind"].isin(["verifier", "variant"])
    assert list(found.loc[mine, "choice"]) == named
    choices = table["choice"]
    of_all = table[~choices.str.contains("-level") | choices.isin(named)]
    same = found[found["choice"] != named[-1]].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, of_all.reset_index(drop=True))


def test_nothing_is_asked_for_that_was_not_planned(settings, store, table, planted):
    tasks = pool.list_tasks(CHAPTER.stages(settings), store)
    assert all(task.done for task in tasks)
    assert {task.place.stage for task in tasks} >= {"released", "score"}


@pytest.fixture(scope="module")
def planted(settings, store):
    return released_solutions.planted_table(settings, store)


def test_the_control_differs_in_what_it_learns_alone(settings):
    points = planted_grid(settings)
    names = [f"{about['level']}, {about['objective']}" for about, _ in points]
    learnt = [about["learnt"] for about, _ in points]
    assert learnt == ["released"] * len(ARMS) + ["planted"]
    assert names == [", ".join(arm) for arm in ARMS] + ["token, verification only"]
    of_arms = dict(zip(ARMS, released_grid(settings), strict=True))
    control = points[-1].specs
    for half, spec in of_arms["token", "verification only"].specs.items():
        other = spec.verifier.completions.replace(solutions="planted")
        expected = spec.verifier.replace(completions=other)
        assert control[half].verifier == expected
        assert control[half].completions.solutions == "planted"
    for arm, point in zip(ARMS, points, strict=False):
        for half, spec in point.specs.items():  # no verifier is trained for these
            assert spec.verifier == of_arms[arm].specs[half].verifier
    assert planted_grid(settings.replace(planted=False)) == []


def test_planted_solutions_are_the_problems_own_and_wrong_ones(
    settings, store, planted
):
    spec = planted_grid(settings)[-1].specs["odd"].completions
    rows = results.sample(spec, store)
    problems = stages.sampled_problems(spec)
    assert (rows["correct"] == (rows["sample"] == 0)).all()
    assert (rows["correct"] == (rows["kind"] == "")).all()
    for row in rows.itertuples():
        assert row.correct == is_correct(row.text, problems[row.problem].solution)
        if row.correct:
            assert row.text == problems[row.problem].solution
    lm = results.load_finetuned(spec.generator, spec.epoch, store)
    wrong = rows[~rows["correct"]].iloc[0]
    question = problems[wrong["problem"]].question
    (nats,), _ = losses.evaluate_losses(
        lm, [encode(lm.tokenizer, question, wrong["text"], 60)]
    )
    assert wrong["logprob"] == pytest.approx(-nats)


def test_what_a_judge_sees_is_counted_by_hand(settings, store, planted):
    rows = planted.set_index(["judge", "learnt", "error"])
    for about, specs in planted_grid(settings):
        judge = f"{about['level']}-level, {about['objective']}", about["learnt"]
        for error in (*ERRORS, ANY):
            wins, problems = [], 0
            for spec in specs.values():
                table = shared.scored_completions(spec, store)
                for _, four in table.groupby("problem"):
                    four = four.set_index("sample")
                    kinds = four["kind"].drop(0)
                    found = kinds.index if error == ANY else kinds.index[kinds == error]
                    scores = four["last"]
                    seen = [
                        (scores[0] > scores[j]) + (scores[0] == scores[j]) / 2
                        for j in found
                    ]
                    wins += [np.mean(seen)] if seen else []
                    problems += bool(seen)
            row = rows.loc[(*judge, error)]
            assert row["n_problems"] == problems
            expected = np.mean(wins) if wins else np.nan
            assert row["auc"] == pytest.approx(expected, nan_ok=True)
    assert {(name, NOTHING) for name in LIKELY} < set(
        planted.groupby(["judge", "learnt"]).groups
    )


def test_planted_operations_are_seen_by_who_learnt_them(planted):
    """That `-` is wrong can be learnt here, in the problems' own words."""
    rows = planted.set_index(["learnt", "error"]).sort_index()
    assert rows.loc[("planted", "operation"), "auc_low"].min() > 0.6


@pytest.mark.parametrize("scale", ["smoke", "quick", "mini"])
def test_there_are_no_released_solutions_of_minigsm(scale, store):
    settings = resolve(NOTEBOOK, scale=scale)
    assert CHAPTER.stages(settings) == []
    assert released_solutions.table(settings, store).empty
    assert released_solutions.planted_table(settings, store).empty


def test_released_solutions_are_of_gsm8k_alone(settings):
    spec = released_solutions.grid(settings)[0].specs["odd"].completions
    with pytest.raises(ValueError, match="660 odd problems asked for, there are 659"):
        spec.replace(n_problems=660)
    data = spec.generator.data.replace(dataset="minigsm")
    with pytest.raises(ValueError, match="are of gsm8k, not of MiniGSM"):
        ReleasedSpec(
            generator=spec.generator.replace(data=data), half="odd", n_problems=2
        )


def test_the_dev_split_and_short_texts_are_refused_by_their_names(settings):
    with pytest.raises(ValueError, match="split dev cannot be judged here.*leave spl"):
        type(settings)(**settings.model_dump() | {"split": "dev"})
    spec = released_solutions.grid(settings)[0].specs["odd"].completions
    with pytest.raises(SettingsError, match="within released_length 2: .*raise relea"):
        check_specs([spec.replace(max_length=2)])


def test_the_figure_has_a_mark_for_every_judge_and_error(planted):
    drawing = CHAPTER.draw("planted", planted)
    (axes,) = drawing.axes
    counts = planted.groupby("error")["n_problems"].max()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [f"{error} ({counts[error]})" for error in (*ERRORS, ANY)]
    judges = planted.groupby(["judge", "learnt"]).ngroups
    assert len(drawing.legends[0].get_texts()) == judges == len(ARMS) + 1 + len(LIKELY)
    plt.close(drawing)


def test_the_figure_draws_every_choice(table):
    drawing = CHAPTER.draw("among", table)
    top, bottom = drawing.axes
    labels = [text.get_text() for text in top.get_yticklabels()]
    assert len(labels) == table["choice"].nunique() and labels[-1] == "any of the four"
    arms = ["token-level, joint", "its mean score", "its weighted vote"]
    assert labels[labels.index(arms[0]) :][:3] == arms
    ranked = table[table["within_auc"].notna()]
    assert len(bottom.get_yticklabels()) == len(ranked)
    plt.close(drawing)
