"""Figures from synthetic tables: drawn, exported, and redrawn byte for byte."""

import colorsys
import json
import subprocess
import sys
from contextlib import nullcontext
from io import BytesIO
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.text import Text
from test_ablations import fig6a_table, fig6b_table, pairs_table
from test_choices import choices_table, doubt_table, foresight_table, law_table
from test_course import course_table
from test_dropout import arms_table
from test_open_points import open_table
from test_process_labels import arms_table as lines_table
from test_process_labels import falls_rows
from test_scaling import direct_rows, fig2_table
from test_search import searches_table
from test_test_time import completions_table, voters_table
from test_token_scores import bins_table, cases_table, solutions_table

from gsmlib import environment, paper
from gsmlib.chapters import (
    CHAPTERS,
    dataset,
    export,
    find_figure,
    resolve,
    rules,
    style,
    textpage,
    verification,
)
from gsmlib.chapters.dataset.figures import _annotated
from gsmlib.chapters.released_solutions.grid import (
    ANY,
    ERRORS,
    LIKELY,
    NOTHING,
    RANKINGS,
)
from gsmlib.data.gsm8k import SYSTEMS
from gsmlib.method import intervals
from gsmlib.method.selection import NO_VERIFIER

matplotlib.use("agg")
FIGURES = {figure.name: figure for chapter in CHAPTERS for figure in chapter.figures}


def with_limits(name, value, half=0.05):
    low, high = max(value - half, 0), value + half
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def fig3_table(seeds=2, epochs=4):
    rows = []
    for seed in range(seeds):
        for epoch in range(1, epochs + 1):
            about = {"dataset": "minigsm", "seed": seed, "epoch": epoch, "n": 100}
            about |= {"n_problems": 60, "train_loss": 1 / epoch, "test_loss": 0.5}
            about |= with_limits("test_at_1", 0.1 * epoch / 3)
            about |= with_limits("test_at_n", 0.8 - 0.1 * epoch + seed / 50)
            rows.append(about | with_limits("mean_accuracy", 0.03 * epoch))
    return pd.DataFrame(rows)


def fig5_table(models=("mini-2m", "mini-4m"), seeds=1):
    rows = []
    for rank, model in enumerate(models):
        for n_train in (250, 1000, 4000):
            methods = {"finetuning": 0.2, "verification": 0.0}
            methods |= dict.fromkeys(NO_VERIFIER.values(), 0.1)
            for method, value in methods.items():
                about = {"dataset": "minigsm", "model": model, "parameters": 10**rank}
                about |= {"n_train": n_train, "method": method, "n_problems": 60}
                about |= {"accuracy": value, "low": value / 2, "high": value + 0.1}
                rows += [about | {"seed": seed} for seed in range(seeds)]
    return pd.DataFrame(rows)


def errors_table(models=("mini-2m", "mini-4m")):
    rows = []
    for model in models:
        for place, error in enumerate(verification.errors.CLASSES):
            about = {"dataset": "minigsm", "model": model, "n_train": 4000, "seed": 0}
            about |= {"n_problems": 200, "n": 40}
            shares = {"sampled": 0.1 * place, "chosen": 0.05, "likeliest": 0.2}
            limits = [with_limits(name, value) for name, value in shares.items()]
            rows.append(
                about | {"error": error} | {k: v for x in limits for k, v in x.items()}
            )
    return pd.DataFrame(rows)


def calculator_table():
    about = {"dataset": "gsm8k", "seed": 0, "n_problems": 50}
    return pd.DataFrame(
        [
            about
            | {"calculator": used}
            | with_limits("greedy", value)
            | with_limits("sampled", value / 2)
            for used, value in ((True, 1 / 3), (False, 0.2))
        ]
    )


def dataset_table():
    problems = pd.DataFrame(
        {
            "dataset": ["minigsm"] * 4 + ["gsm8k"] * 4,
            "steps": [2, 3, 3, 4, 2, 2, 5, 8],
            "question_words": [35, 40, 45, 47, 33, 60, 61, 99],
            "solution_words": [15, 20, 25, 27, 13, 40, 41, 79],
        }
    )
    return dataset.distributions(problems)


def released_table():
    rows = [
        {"quantity": "accuracy", "system": system, "steps": 0, "problems": 1319}
        | {"value": value, "low": value - 0.02, "high": value + 0.02}
        for system, value in (("6B finetuning", 0.2168), ("6B verification", 0.3904))
    ]
    rows += [
        {"quantity": "difference", "system": system, "steps": steps, "problems": 100}
        | {"value": 0.1, "low": -0.1, "high": 0.3}
        for system in ("6B", "175B")
        for steps in (2, 3, 4)
    ]
    return pd.DataFrame(rows)


def fig1_table():
    solution = "He pays 2*3 = $<<2*3=6>>6.\nThat is <<6/2=3>>3 each.\n#### 3"
    row = {"dataset": "gsm8k", "question": "Ann's books cost $2? " * 9}
    return pd.DataFrame([row | {"solution": solution}])


def fig9_table():
    steps = [("model", ["Kim", " has", "<<", "3", "+", "4", "="])]
    steps += [("calculator", ["7", ">>"]), ("model", ["7", ".", "\n", "null", ""])]
    return pd.DataFrame(
        [
            {"step": step, "writer": writer, "token": token}
            for step, (writer, tokens) in enumerate(steps, 1)
            for token in tokens
        ]
    )


def fig12_table():
    tokens = ["How", " many", "?", "\n", "3", "+", "4", "\n", "####", " 7"]
    return pd.DataFrame(
        [
            {"row": row, "token": token, "in_loss": place > 3, "target": target}
            for row, target in (("language model", ""), ("verifier", "1"))
            for place, token in enumerate(tokens * 4)
        ]
    )


def ledger_table():
    verdicts = [*rules.WORDS] * 4
    rows = [
        {"id": claim.id, "brief": claim.brief, "verdict": verdict}
        for claim, verdict in zip(paper.CLAIMS, verdicts, strict=False)
    ]
    return pd.DataFrame(rows).assign(value=0.1, low=0.0, high=0.2, seeds=3)


def among_table():
    systems = [name.replace("b_", "B ") for name in SYSTEMS]
    rows = [("system", name, 0.56, np.nan) for name in systems]
    rows += [("choice", name, 0.4, np.nan) for name in ("random pick", "majority vote")]
    rows += [("choice", name, 0.4, 0.55) for name in RANKINGS]
    rows += [("ceiling", "any of the four", 0.7, np.nan)]
    arms = product(("token", "solution"), ("joint", "verification only"))
    for level, objective in arms:
        arm = f"{level}-level, {objective}"
        rows += [("verifier", arm, 0.48, 0.7)]
        if level == "token":
            rows += [("variant", f"{arm}: mean score", 0.5, 0.72)]
    rows += [("variant", "token-level, joint: weighted vote", 0.52, np.nan)]
    table = pd.DataFrame(rows, columns=["kind", "choice", "accuracy", "within_auc"])
    table["adjusted_auc"] = table["within_auc"] - 0.05
    for name, low, high in (intervals.column_names(n) for n in table.columns[2:]):
        table = table.assign(**{low: table[name] - 0.03, high: table[name] + 0.03})
    about = {"dataset": "gsm8k", "model": "smollm2-135m", "n_train": 2000, "seed": 0}
    return table.assign(**about, n=4, n_problems=1319)


def planted_table():
    arms = product(("token", "solution"), ("joint", "verification only"))
    judges = [(f"{level}-level, {objective}", "released") for level, objective in arms]
    judges += [("token-level, verification only", "planted")]
    judges += [(name, NOTHING) for name in LIKELY]
    rows = [
        {"judge": judge, "learnt": learnt, "error": error, "auc": 0.5 + place / 20}
        for place, (judge, learnt) in enumerate(judges)
        for error in (*ERRORS, ANY)
    ]
    table = pd.DataFrame(rows)
    table = table.assign(auc_low=table["auc"] - 0.03, auc_high=table["auc"] + 0.03)
    about = {"dataset": "gsm8k", "model": "smollm2-135m", "n_train": 2000, "seed": 0}
    return table.assign(**about, n_problems=1040)


def own_curves_table():
    rows = [
        {"method": method, "score": score, "n": n, "accuracy": 0.4 + place / 50}
        for place, (method, score) in enumerate(
            [("test@n", ""), ("random pick", ""), ("pass^n", "")]
            + [("majority vote", ""), ("best-of-n", "last"), ("best-of-n", "logprob")]
            + [("weighted vote", "last"), ("weighted vote", "logprob")]
        )
        for n in (1, 2, 4, 8, 16)
    ]
    about = {"samples": "mine.jsonl", "labels": "given", "n_problems": 200}
    table = pd.DataFrame(rows).assign(**about)
    return table.assign(low=table["accuracy"] - 0.1, high=table["accuracy"] + 0.1)


def own_pairs_table():
    rows = []
    for a, b in (("mine.jsonl", "yours.jsonl"), ("mine.jsonl", "a_very_long_name.csv")):
        for method in ("random pick", "majority vote", "best-of-n", "test@n", "pass^n"):
            row = {"a": a, "b": b, "method": method, "score": "", "n_problems": 200}
            rows += [row | {"n": n} | with_limits("difference", 0.1) for n in (1, 4)]
    return pd.DataFrame(rows)


def own_rules_table():
    rules = ("given", "strict", "flexible")
    rows = [
        {"samples": name, "rule": rule, "n": 4, "n_problems": 200, "unanswered": 0.0}
        | with_limits("mean_accuracy", 0.4 + place / 20)
        for name in ("mine.jsonl", "a_very_long_name_of_a_file.jsonl")
        for place, rule in enumerate(rules)
    ]
    return pd.DataFrame(rows)


def fig4_table():
    rows = [
        ("generator", 0, 0, "finetune", "3 epochs", "verifier sample"),
        ("verifier", 0, 1, "verifier", "1 epoch", "score"),
        ("sample", 1, 0, "sample", "32 each", "score"),
        ("score", 1, 1, "score", "P(correct)", ""),
    ]
    names = ["id", "column", "row", "title", "detail", "feeds"]
    return pd.DataFrame(rows, columns=names)


TABLES = {
    "fig1_examples": fig1_table,
    "fig3_test_at_n": fig3_table,
    "fig4_pipeline": fig4_table,
    "fig5_verification": fig5_table,
    "errors_chosen": errors_table,
    "fig6a_token_or_solution": fig6a_table,
    "fig6b_joint_objective": fig6b_table,
    "fig6c_generator_and_verifier_size": pairs_table,
    "fig7a_completions": completions_table,
    "fig7b_top_k_vote": voters_table,
    "fig9_calculator": fig9_table,
    "fig12_mask": fig12_table,
    "fig13_token_scores": cases_table,
    "calibration_of_scores": bins_table,
    "sidebyside_solutions": solutions_table,
    "open_points": open_table,
    "course_of_pretraining": course_table,
    "dataset_lengths": dataset_table,
    "released_solutions": released_table,
    "among_released": among_table,
    "planted_errors": planted_table,
    "curves_of_completions": own_curves_table,
    "paired_completions": own_pairs_table,
    "extraction_of_answers": own_rules_table,
    "lines_or_answers": lines_table,
    "falls_at_errors": falls_rows,
    "search_by_tokens": searches_table,
    "gap_to_coverage": choices_table,
    "law_of_coverage": law_table,
    "foresight_of_selection": foresight_table,
    "budget_of_choices": choices_table,
    "doubt_of_verifier": doubt_table,
    "calculator_worth": calculator_table,
    "ledger_of_claims": ledger_table,
    "fig2_finetuning_scaling": fig2_table,
    "direct_answers": direct_rows,
    "fig8a_dropout_finetuning": lambda: arms_table("fig8a"),
    "fig8b_dropout_solution_level": lambda: arms_table("fig8b"),
    "fig8c_dropout_token_level": lambda: arms_table("fig8c"),
}


def drawn(name, table):
    return export.draw(FIGURES[name], table)


def test_every_figure_has_a_test():
    assert set(TABLES) == set(FIGURES)
    ids = [figure.id for figure in FIGURES.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", TABLES)
def test_redrawn_from_the_csv_byte_for_byte(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path))
    settings = resolve("01_calculator", scale="quick", seeds=[0])
    table = TABLES[name]()
    figure = drawn(name, table)
    files = export.export(FIGURES[name], figure, table, settings)
    plt.close(figure)
    assert [file.name for file in files] == [
        f"{name}.{suffix}" for suffix in ("png", "svg", "pdf", "csv", "json")
    ]
    csv = tmp_path / "quick" / f"{name}.csv"
    again = export.redraw(find_figure(csv), csv, tmp_path / "again")
    for old, new in zip(files, again, strict=False):
        assert old.read_bytes() == new.read_bytes(), old.name
    width, _ = figure.get_size_inches()
    columns = 1 if FIGURES[name].layout else style.OURS.columns
    assert width <= columns * style.COLUMN_WIDTH
    origin = json.loads(files[-1].read_text())
    assert origin["settings"]["seeds"] == [0]
    assert (origin["figure"], origin["scale"]) == (name, "quick")


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_cut_off(name):
    figure = drawn(name, TABLES[name]())
    figure.canvas.draw()
    ink = figure.get_tightbbox(figure.canvas.get_renderer())  # in inches
    width, height = figure.get_size_inches()
    assert ink.x0 >= -0.01 and ink.x1 <= width + 0.01
    assert ink.y0 >= -0.01 and ink.y1 <= height + 0.01
    plt.close(figure)


def test_one_model_leaves_room_for_what_the_paper_states():
    table = fig5_table()
    figure = drawn("fig5_verification", table[table["model"] == table["model"].iloc[0]])
    figure.canvas.draw()
    ink = figure.get_tightbbox(figure.canvas.get_renderer())
    assert ink.x0 >= -0.01 and ink.x1 <= figure.get_size_inches()[0] + 0.01
    plt.close(figure)


def test_counts_are_as_short_as_on_the_papers_axes():
    counts = (1, 999, 1000, 7473, 64_000, 1_689_600)
    words = ["1", "999", "1K", "7.47K", "64K", "1.69M"]
    assert list(map(style.short_count, counts)) == words


@pytest.mark.parametrize(
    "most, ticks",
    [
        (1, [1]),
        (np.int64(4), [1, 2, 4]),
        (np.int64(6), [1, 2, 5]),
        (np.int64(40), [1, 2, 5, 10, 25, 40]),
    ],
)
def test_an_axis_of_counts_ends_in_a_tick_where_there_is_room(most, ticks):
    figure, axes = plt.subplots(figsize=(6, 3))
    style.count_axis(axes, most)
    assert sorted(axes.get_xticks()) == ticks
    plt.close(figure)


def test_one_seed_is_said_and_several_are_counted():
    for seeds, words in ((1, "one seed"), (3, "SD over 3 seeds")):
        figure = drawn("fig3_test_at_n", fig3_table(seeds))
        assert words in figure.get_supxlabel().replace("\n", " ")
        assert "MiniGSM, 60 test problems" in figure.get_supxlabel()
        plt.close(figure)


def test_curves_differ_in_more_than_colour():
    figure = drawn("fig3_test_at_n", fig3_table())
    for panel in figure.axes:
        looks = [
            (c.lines[0].get_marker(), c.lines[0].get_linestyle())
            for c in panel.containers
        ] or [(line.get_marker(), line.get_linestyle()) for line in panel.lines]
        assert len({marker for marker, _ in looks}) == len(looks)
        assert len({dashes for _, dashes in looks}) == len(looks)
    plt.close(figure)


def test_fig5_draws_its_numbers():
    table = fig5_table(("only",))
    figure = verification.CHAPTER.draw("fig5", table)
    (panel,) = figure.axes
    heights = [c.lines[0].get_ydata().tolist() for c in panel.containers]
    np.testing.assert_allclose(heights, [[0, 0, 0], [20, 20, 20]])
    assert [t.get_text() for t in panel.get_xticklabels()] == ["250", "1K", "4K"]
    plt.close(figure)


def test_the_released_table_pairs_systems_by_problem():
    names = [
        f"{size}b_{m}" for size in (6, 175) for m in ("finetuning", "verification")
    ]
    correct = pd.DataFrame(
        np.tile([[0, 1, 1, 1], [0, 0, 1, 0]], (20, 1)), columns=names
    )
    steps = pd.Series(np.tile([3, 9], 20))
    table = dataset.released_table(correct.astype(bool), steps)
    accuracy = table[table["quantity"] == "accuracy"]
    assert accuracy["value"].tolist() == [0, 0.5, 1, 0.5]
    gaps = table[table["quantity"] == "difference"]
    assert gaps[["system", "steps", "value", "problems"]].to_numpy().tolist() == [
        ["6B", 3, 1, 20],
        ["6B", 7, 0, 20],
        ["175B", 3, 0, 20],
        ["175B", 7, -1, 20],
    ]
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_the_pipelines_boxes_feed_boxes():
    settings = resolve("03_verification", scale="gpt2", precision="fp32")
    table = verification.pipeline_boxes(settings)
    assert set(" ".join(table["feeds"]).split()) <= set(table["id"])
    assert "100 each, T = 0.7" in table["detail"].tolist()
    quick = verification.pipeline_boxes(resolve("03_verification", scale="quick"))
    assert "6 to 10 epochs" in quick["detail"].tolist()


def test_shares_of_a_distribution_sum_to_one():
    table = dataset_table()
    sums = table.groupby(["dataset", "quantity"])["share"].sum()
    np.testing.assert_allclose(sums, 1.0)


def test_line_breaks_keep_every_character():
    text = fig1_table()["solution"][0]
    spans = _annotated(text)
    assert "".join(span.text for span in spans) == text
    lines = textpage.break_lines(spans)
    placed = [place for line in lines for place in line]
    assert "".join(span.text for _, span in placed) == text
    ends = [column + len(span.text.rstrip()) for column, span in placed]
    assert max(ends) <= textpage.PAGE_COLUMNS


def test_where_figures_go(monkeypatch, tmp_path):
    monkeypatch.delenv("GSMLIB_FIGURES", raising=False)
    monkeypatch.chdir(tmp_path)
    root = environment.project_root()
    assert export.figures_folder("mini") == root / "figures" / "mini"
    assert export.figures_folder("smoke") == root / "runs" / "smoke" / "figures"
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path / "env"))
    assert export.figures_folder("mini") == tmp_path / "env" / "mini"
    monkeypatch.setenv("GSMLIB_FIGURES", "~/my figures")
    assert export.figures_folder("mini") == Path.home() / "my figures" / "mini"


def test_provenance_names_commit_and_versions():
    found = environment.provenance({"scale": "quick"})
    assert found["settings"] == {"scale": "quick"}
    assert found["versions"]["matplotlib"] == matplotlib.__version__


def test_an_unknown_csv_is_refused(tmp_path):
    assert find_figure(tmp_path / "notes_of_mine.csv") is None
    with pytest.raises(KeyError, match="has no figure 'notes'; it has fig4, fig12"):
        verification.CHAPTER.figure("notes")
    notes = tmp_path / "fig3_of_mine.csv"
    notes.write_text("mine\n1\n")
    with pytest.raises(ValueError, match="is no table of fig3"):
        export.redraw(find_figure(notes), notes)


def test_drawing_leaves_the_users_style_alone():
    before = dict(matplotlib.rcParams)
    plt.close(drawn("fig3_test_at_n", fig3_table()))
    assert dict(matplotlib.rcParams) == before


OTHERS = {  # what users set, each of which would be seen in a figure
    "tight": {"savefig.bbox": "tight", "savefig.pad_inches": 1},
    "tex": {"text.usetex": True},
    "dark": "dark_background",
    "theme": ["ggplot", {"font.size": 20, "xtick.labelsize": 20, "font.weight": 900}],
    "layout": {"figure.autolayout": True, "axes.xmargin": 0.4, "xtick.direction": "in"},
    "files": {"svg.fonttype": "none", "pdf.fonttype": 3, "savefig.transparent": True},
    "text": {
        "axes.unicode_minus": False,
        "text.hinting": "none",
        "path.sketch": (1, 9, 2),
    },
}


def saved(name, folder, backend="agg"):
    """The bytes of a figure's files, drawn and exported as a notebook does."""
    plt.switch_backend(backend)
    try:
        figure = drawn(name, TABLES[name]())
        files = export._save(figure, folder, name)
        plt.close(figure)
    finally:
        plt.switch_backend("agg")
    return [file.read_bytes() for file in files]


PLOT, PAGE = "fig8a_dropout_finetuning", "fig12_mask"


@pytest.mark.parametrize(
    ("name", "other"), [*((PLOT, other) for other in OTHERS), (PAGE, "tex")]
)
def test_a_figure_is_the_same_whatever_the_user_has_set(name, other, tmp_path):
    usual = saved(name, tmp_path / "usual")
    with matplotlib.style.context(OTHERS[other]):
        before = dict(matplotlib.rcParams)
        assert saved(name, tmp_path / "set") == usual
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("backend", ["pdf", "svg"])
def test_a_figure_is_the_same_for_every_backend(backend, tmp_path):
    usual = saved(PLOT, tmp_path)
    assert saved(PLOT, tmp_path, backend) == usual


@pytest.mark.parametrize("other", ["tex", "theme", "text"])
def test_a_notebook_shows_a_figure_in_its_style_after_the_cell(other):
    shown = []
    for style_of_user in ({}, OTHERS[other]):
        with matplotlib.style.context(style_of_user):
            figure, image = drawn("fig3_test_at_n", fig3_table()), BytesIO()
            figure.canvas.print_figure(image, dpi=figure.dpi)  # as Jupyter does
            shown.append(image.getvalue())
            plt.close(figure)
    assert shown[0] == shown[1]


def test_figures_are_redrawn_without_a_backend(tmp_path, monkeypatch):
    monkeypatch.setattr(plt, "figure", lambda **_: pytest.fail("a window opens"))
    table = fig3_table()
    csv = tmp_path / "fig3_test_at_n.csv"
    table.to_csv(csv, index=False)
    assert all(path.is_file() for path in export.redraw(find_figure(csv), csv))


def draws_interactively(table, axes):
    """Draw as the first figure of a notebook does, whose backend is then chosen."""
    matplotlib.interactive(True)
    matplotlib.rcParams["lines.linewidth"] = 9
    if table.empty:
        raise ValueError("nothing to draw")


@pytest.mark.parametrize("fails", [False, True])
def test_a_backend_stays_interactive_and_nothing_else_leaks(fails):
    before = dict(matplotlib.rcParams)
    draw = style.styled(draws_interactively)
    try:
        with pytest.raises(ValueError) if fails else nullcontext():
            draw(pd.DataFrame({} if fails else {"x": [1]}), None)
        assert dict(matplotlib.rcParams) == before | {"interactive": True}
    finally:
        matplotlib.interactive(before["interactive"])


def hue_of(color):
    """A colour's place among the styles', whatever its shade; greys have none."""
    red, green, blue = matplotlib.colors.to_rgb(color)
    hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    return round(hue, 1) % 1 if saturation > 0.1 else None


VERIFIER, GREEDY, VOTES, LIKELIEST = map(
    hue_of, (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE)
)
HUES = {  # what is drawn in colour, by whose work it is
    "calculator_worth": {GREEDY},
    "calibration_of_scores": {VERIFIER},
    "dataset_lengths": set(),
    "direct_answers": {GREEDY},
    "fig2_finetuning_scaling": {GREEDY},
    "fig3_test_at_n": {GREEDY},
    "fig5_verification": {GREEDY, VERIFIER, VOTES, LIKELIEST},
    "errors_chosen": {VERIFIER, LIKELIEST},
    "fig6a_token_or_solution": {VERIFIER, VOTES, LIKELIEST},
    "fig6b_joint_objective": {VERIFIER, VOTES, LIKELIEST},
    "fig6c_generator_and_verifier_size": {VERIFIER, VOTES, LIKELIEST},
    "fig7a_completions": {VERIFIER, VOTES, LIKELIEST},
    "fig7b_top_k_vote": {VOTES},
    "fig8a_dropout_finetuning": {GREEDY},
    "fig8b_dropout_solution_level": {VERIFIER},
    "fig8c_dropout_token_level": {VERIFIER},
    "ledger_of_claims": set(),
    "open_points": {VERIFIER, GREEDY},
    "course_of_pretraining": {VERIFIER, GREEDY, VOTES, LIKELIEST},
    "released_solutions": {GREEDY, VERIFIER},
    "among_released": {GREEDY, VERIFIER},
    "planted_errors": {VERIFIER, LIKELIEST},
    "curves_of_completions": {VERIFIER, VOTES, LIKELIEST},
    "paired_completions": {VERIFIER, VOTES},
    "extraction_of_answers": set(),
    "lines_or_answers": {VERIFIER},
    "falls_at_errors": {VERIFIER},
    "search_by_tokens": {VERIFIER, VOTES, LIKELIEST},
    "gap_to_coverage": {VERIFIER, VOTES, LIKELIEST},
    "law_of_coverage": set(),
    "foresight_of_selection": {VERIFIER},
    "budget_of_choices": {GREEDY, VERIFIER, VOTES, LIKELIEST},
    "doubt_of_verifier": {VERIFIER},
}


@pytest.mark.parametrize("name", HUES)
def test_a_method_has_one_colour_in_all_figures(name):
    figure = drawn(name, TABLES[name]())
    found = {hue_of(line.get_color()) for line in figure.findobj(Line2D)}
    assert found - {None} == HUES[name]
    plt.close(figure)


def test_every_plot_is_asked_for_its_colours():
    plots = {name for name, figure in FIGURES.items() if figure.layout is not None}
    assert set(HUES) == plots


def test_shades_keep_their_order_in_grey():
    lines = style.shades(style.GREEN, 7)
    weights = 0.299, 0.587, 0.114
    greys = [np.dot(matplotlib.colors.to_rgb(line.color), weights) for line in lines]
    assert (np.diff(greys) < -0.05).all()
    assert len({line.marker for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "MiniGSM, 60 test problems; up to 100 completions each"),
        ({"n": 8, "model": "mini-2m"}, "problems; mini-2m, 8 completions each"),
        ({"n_train": [250, 4000]}, "; 250 to 4,000 training problems, up to"),
        ({"model": ["b", "a"], "parameters": [2, 1]}, "; a and b, up to 100"),
    ],
)
def test_what_was_measured_is_said(columns, words):
    about = {"dataset": "minigsm", "n_problems": [60, 60], "n": [1, 100]}
    assert words in style.measured_on(pd.DataFrame(about | columns))
    assert style.measured_on(pd.DataFrame({"dataset": ["gsm8k"]})) == ""


def test_the_papers_numbers_are_drawn_in_grey():
    figure = drawn("direct_answers", direct_rows())
    grey = [x for x in figure.findobj(Line2D) if x.get_color() == style.PAPER.color]
    found = {round(x.get_xdata()[0], 3) for x in grey if len(x.get_xdata()) == 1}
    assert found >= {20.6, 5.2}
    figure = drawn("fig5_verification", fig5_table())
    stated = {text.get_text() for text in figure.findobj(Text)}
    assert {"22", "39", "35", "56"} <= stated
    plt.close("all")


def test_curves_far_below_the_papers_numbers_keep_an_axis_of_their_own():
    low = fig5_table(("smollm2-135m",))
    low = low.assign(**{name: low[name] / 10 for name in ("accuracy", "low", "high")})
    for table, shared in ((fig5_table(), True), (low, False)):
        panels = drawn("fig5_verification", table).axes
        ours, stated = panels[0].get_ylim()[1], panels[-1].child_axes[0].get_ylim()[1]
        assert stated > 56 and (ours == stated) == shared
        assert ours > 100 * table["high"].max()
    plt.close("all")


def test_fig5_says_what_its_verifiers_did_not_learn_from():
    words = "Verifiers learn from completions of 1,000 problems at most."
    for table in (fig5_table(), fig5_table().assign(completed=[250, 1000, 1000] * 12)):
        note = drawn("fig5_verification", table).get_supxlabel()
        assert (words in note.replace("\n", " ")) == ("completed" in table)
    plt.close("all")


def test_figures_need_no_torch():
    code = "import sys, gsmlib.chapters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_errors_are_ordered_by_how_often_they_are_sampled():
    drawing = drawn("errors_chosen", errors_table())
    for panel in drawing.axes[:2]:
        told = [label.get_text() for label in panel.get_yticklabels()]
        if any(told):  # the first panel's
            right, *wrong = verification.errors.CLASSES
            assert told == [right, *wrong[::-1]]
            return
    raise AssertionError("no panel names the errors")
