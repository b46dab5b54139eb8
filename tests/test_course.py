"""10_pretraining: its points, its table and its figure."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib.chapters import export, pretraining, resolve
from gsmlib.chapters.pretraining.grid import shipped_texts, single_steps
from gsmlib.method.selection import NO_VERIFIER
from gsmlib.study.pool import list_tasks
from gsmlib.study.store import Store

CHAPTER = pretraining.CHAPTER
TEXTS = (8_000, 128_000, 1_689_600)


def with_limits(name, value, half=0.05):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def course_table(texts=TEXTS, seeds=2, steps=True):
    """A table in which everything grows with the texts."""
    rows = []
    for (place, count), seed in product(enumerate(texts), range(seeds)):
        row = {"dataset": "minigsm", "model": "mini-2m", "n_train": 4000}
        row |= {"seed": seed, "texts": count, "n": 40, "n_problems": 200}
        row |= with_limits("greedy", 0.1 + 0.1 * place)
        if steps:
            row |= with_limits("quotes", 0.2 + 0.3 * place)
            row |= with_limits("steps", 0.3 + 0.3 * place)
        row |= {"accuracy": 0.1 + 0.2 * place, "low": 0.05, "high": 0.15 + 0.2 * place}
        row |= {name: 0.1 + 0.05 * place for name in NO_VERIFIER}
        row |= with_limits("within_auc", 0.5 + 0.2 * place)
        rows.append(row | with_limits("logprob_auc", 0.6 + 0.1 * place))
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The table at smoke."""
    settings = resolve("10_pretraining", scale="smoke", pretraining_texts=[10, 30])
    store = Store(tmp_path_factory.mktemp("store"))
    return settings, store, pretraining.table(settings, store)


def test_a_row_per_length_and_seed(made):
    settings, store, table = made
    assert table["texts"].tolist() == [10, 30]
    assert set(table["model"]) == {"tiny"} and (table["n"] == 4).all()
    gain = table["accuracy"] - table["greedy"]
    assert np.allclose(table["gain"], gain)
    tasks = list_tasks(CHAPTER.stages(settings), store)
    assert tasks and all(task.done for task in tasks)


def test_the_steps_are_the_pretrained_models(made):
    settings, store, _ = made
    generators = [
        point.specs["greedy"].generator for point in pretraining.grid(settings)
    ]
    few, many = (pretraining.load_started(spec, store) for spec in generators)
    weights = [lm.model.transformer.wte.weight for lm in (few, many)]
    assert not np.allclose(*(w.detach().numpy() for w in weights))
    quoted, computed = single_steps(generators[0], store)
    assert set(quoted) | set(computed) <= {0, 1}
    assert len(quoted) == len(computed) > 100


def test_points_differ_in_the_pretraining_alone():
    settings = resolve("10_pretraining", scale="mini")
    points = pretraining.grid(settings)
    assert [point.about["texts"] for point in points] == [
        *settings.pretraining_texts,
        shipped_texts("mini-2m"),
    ]
    first, second, *_, last = (point.specs["scores"] for point in points)
    generator = second.completions.generator
    assert generator.pretraining.n_texts == settings.pretraining_texts[1]
    assert generator.pretraining.training.optimizer == "muon"
    shorter = first.completions.generator.pretraining
    assert generator.replace(pretraining=shorter) == first.completions.generator
    assert first.verifier.completions.generator == first.completions.generator
    plain = last.completions.generator
    assert plain.pretraining is None and plain.model == "mini-2m"
    assert generator.replace(pretraining=None, model="mini-2m") == plain


def test_other_models_go_on_from_their_own_weights():
    settings = resolve("10_pretraining", scale="smoke", model="mini-0.2m")
    points = pretraining.grid(settings)
    assert [point.about["texts"] for point in points] == [20, 40]
    assert points[0].specs["greedy"].generator.pretraining.model == "mini-0.2m"


@pytest.mark.parametrize("steps", [True, False])
def test_all_curves_are_drawn(steps):
    figure = export.draw(CHAPTER.figure("course"), course_table(steps=steps))
    top, bottom = figure.axes
    words = [text.get_text() for text in top.get_legend().get_texts()]
    assert words == [*NO_VERIFIER.values(), "best-scored", "finetuning"]
    below = [text.get_text() for text in bottom.get_legend().get_texts()]
    assert ("single steps right" in below) == steps and len(below) == 2 + 2 * steps
    assert ("quotes copied" in below) == steps
    assert bottom.get_xlabel() == "texts of the pretraining" and not top.get_xlabel()
    plt.close(figure)
