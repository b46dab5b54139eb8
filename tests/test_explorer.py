"""The page of single problems: the table's numbers, and what a browser shows."""

import base64
import json
import re
import zlib
from importlib import import_module
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from browser import PHONE, browse, needs_browser

from gsmlib.chapters import find, resolve, shared
from gsmlib.data import Problem, load_problems
from gsmlib.method import metrics, selection
from gsmlib.method.answers import INVALID, final_number
from gsmlib.method.tokenizer import load_tokenizer
from gsmlib.report import explorer, page
from gsmlib.report import run as report
from gsmlib.report.explorer import EXPLORED, KINDS, LABELS
from gsmlib.report.page import Outcome
from gsmlib.study.store import Store

more = import_module("gsmlib.chapters.test_time_compute.grid")
PROBLEMS, DRAWN, SEEDS = 12, 20, (0, 1)
NASTY = '</script><b id="nasty">&amp; "\'{{ 7 }}'
WELL = [Outcome(EXPLORED, 1.0, "")]


# --------------------------------------------------- completions that no model sampled


def make_problems():
    problems = load_problems("minigsm", "test", PROBLEMS)
    problems[3] = Problem(NASTY, problems[3].solution)
    return problems


def make_completions(seed, tokenizer):
    """A table of completions and one of scores, as the stages leave them."""
    rng, completions, scores = np.random.default_rng(seed), [], []
    for i, problem in enumerate(make_problems()):
        reference = problem.solution.rpartition("#### ")[2]
        for j in range(DRAWN):
            right = i % 4 > 0 and rng.random() < 0.2 * (i % 4)  # some: never
            wrong = ["#### 3", "#### 4", "#### 3", "no answer"][rng.integers(4)]
            text = problem.solution if right else f"Is it <<2+1=3>>3?\n{wrong}"
            tokens = tokenizer.encode(text, add_special_tokens=False)
            tokens.append(tokenizer.eos_token_id)
            about = {"problem": i, "sample": j}
            row = {"text": text, "tokens": np.array(tokens), "finished": True}
            row |= {"forced": rng.random(len(tokens)) < 0.1}
            row |= {"logprob": -rng.random() * 9 - right}
            answer = final_number(text)
            completions.append(
                about | row | {"answer": answer, "correct": answer == reference}
            )
            token_scores = rng.normal(0.5, 0.3, len(tokens)).astype(np.float32)
            last = round(float(rng.random() + 0.3 * right), 1)  # some are equal
            scores.append(about | {"last": last, "token_scores": token_scores})
    return pd.DataFrame(completions), pd.DataFrame(scores)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings, the chapter's table, the page's data, its page and its completions."""
    root = tmp_path_factory.mktemp("explorer")
    tokenizer = load_tokenizer()
    tokenizer.save_pretrained(root / "model")
    by_seed = {seed: make_completions(seed, tokenizer) for seed in SEEDS}
    changes = dict(test_problems=PROBLEMS, test_completions=DRAWN, counts=[4, 13])
    settings = resolve(EXPLORED, scale="smoke", seeds=SEEDS, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "prepare", lambda specs, store: None)
        patch.setattr(shared, "sample", lambda spec, store: by_seed[spec.seed][0])
        for module in (shared, explorer):
            patch.setattr(
                module, "score", lambda spec, _: by_seed[spec.completions.seed][1]
            )
        patch.setattr(explorer, "epoch_folder", lambda *_: root / "model")
        patch.setattr(explorer, "sampled_problems", lambda spec: make_problems())
        store = Store(root / "store")  # it has no greedy solutions
        data = explorer.collect(settings, store)
        explorer.write_page(root / "explorer.html", settings, store)
        table = more.table(settings, store)
    for name in (f"{EXPLORED}.html", "index.html"):
        (root / name).touch()
    return settings, table, data, root / "explorer.html", by_seed


def unpack(text):
    packed = re.search(r'id="data">([^<]*)<', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def rounded(values):
    return [round(100 * value, 1) for value in values]


def as_exported(table, tmp_path):
    """Return (label, n, k) -> mean, low and high in percent, by way of a CSV.

    The mean is that of the rows of all seeds; k is None where nobody chose it.
    """
    table.to_csv(tmp_path / "table.csv", index=False)
    rows = pd.read_csv(tmp_path / "table.csv", float_precision="round_trip")
    by = ["method", "n", "k"]
    means = rows.groupby(by, dropna=False)[["accuracy", "low", "high"]].mean()
    return {
        (LABELS[method], n, None if np.isnan(k) else k): rounded(limits)
        for (method, n, k), limits in means.iterrows()
    }


# ------------------------------------------------------------------------- the numbers


def test_accuracies_and_limits_are_those_of_the_table(made, tmp_path):
    _, table, data, *_ = made
    found = {}
    for curve in data["curves"]:
        for point, limits in zip(curve["points"], curve["limits"], strict=True):
            n, k = (point, None) if curve["n"] is None else (curve["n"], point)
            found[curve["label"], n, k] = limits
    exported = as_exported(table, tmp_path)
    assert {place: found[place] for place in exported} == exported
    assert len(exported) == 6 * 8 + 4 + 7  # methods at n; k of 4 and of 13


def test_chances_on_a_problem_are_those_of_the_metrics(made):
    _, _, data, _, by_seed = made
    numbers = {
        (curve["label"], curve["n"]): i for i, curve in enumerate(data["curves"])
    }
    for place, seed in enumerate(SEEDS):
        completions, scores = by_seed[seed]
        correct = shared.matrix(completions, "correct")
        answers = selection.answer_numbers(shared.matrix(completions, "answer"))
        last = shared.matrix(scores, "last")
        expected = {
            ("best-scored", None, 9): metrics.verified_at_n(last, correct, 9),
            ("test@n, the ceiling", None, 7): metrics.test_at_n(correct, 7),
            (more.TOP_K_VOTE, 13, 5): metrics.vote_at_n(
                answers, correct, 13, [5], last
            )[0],
        }
        for (label, n, point), values in expected.items():
            curve = numbers[label, n]
            at = data["curves"][curve]["points"].index(point)
            found = [p["runs"][place]["wins"][curve][at] for p in data["problems"]]
            np.testing.assert_allclose(found, 1000 * values, atol=0.5)


def test_completions_stand_from_the_best_scored_to_the_worst(made):
    _, _, data, _, by_seed = made
    for place, seed in enumerate(SEEDS):
        completions, scores = by_seed[seed]
        both = completions.merge(scores, on=["problem", "sample"])
        for i, rows in both.groupby("problem"):
            run = data["problems"][i]["runs"][place]
            rows = rows.sort_values("last", ascending=False, kind="stable")
            assert run["samples"] == rows["sample"].tolist()
            assert run["scores"] == rows["last"].round(3).tolist()
            assert run["logprobs"] == rows["logprob"].round(2).tolist()
            answers = [*run["answers"], (INVALID, 0)]
            assert [answers[n][0] for n in run["ids"]] == rows["answer"].tolist()
            assert [answers[n][1] for n in run["ids"]] == rows["correct"].tolist()


def test_texts_are_the_first_seeds_with_the_calculators_tokens_marked(made):
    _, _, data, _, by_seed = made
    both = by_seed[0][0].merge(by_seed[0][1], on=["problem", "sample"])
    for i, rows in both.groupby("problem"):
        rows = rows.sort_values("last", ascending=False, kind="stable")
        problem = data["problems"][i]
        for j, row in enumerate(rows.itertuples()):
            pieces = [data["pieces"][piece] for piece in problem["tokens"][j]]
            assert "".join(text for text, _ in pieces) == row.text
            assert [forced for _, forced in pieces] == row.forced.tolist()
            steps = np.floor(row.token_scores.astype(float) * 10).clip(0, 9)
            assert [int(digit) for digit in problem["levels"][j]] == steps.tolist()


def test_choices_and_kinds_are_those_of_the_selection(made):
    _, _, data, _, by_seed = made
    completions, scores = by_seed[1]
    answers, last = shared.matrix(completions, "answer"), shared.matrix(scores, "last")
    k = data["voters"].index(5)
    found = {"best-scored": selection.vote(answers, last, 1)}
    found |= {"majority vote": selection.majority(answers)}
    found |= {"vote weighted by score": selection.weighted_vote(answers, last)}
    voted = selection.vote(answers, last, 5)
    for i, problem in enumerate(data["problems"]):
        run = problem["runs"][1]
        told = [*run["answers"], (INVALID, 0)]
        for label, winners in found.items():
            assert told[run["chosen"][label]][0] == winners[i]
        assert told[run["chosen"][more.TOP_K_VOTE][k]][0] == voted[i]
        right = [told[run["chosen"][n]][1] for n in ("best-scored", "majority vote")]
        some = any(is_right for _, is_right in told)
        known = {(1, 0): KINDS[0], (0, 1): KINDS[1], (1, 1): KINDS[2]}
        kind = known.get(tuple(right), KINDS[3] if some else KINDS[4])
        assert KINDS[run["kind"]] == kind
    kinds = {run["kind"] for problem in data["problems"] for run in problem["runs"]}
    assert len(kinds) >= 3


def test_letters_that_several_tokens_spell_stay_whole(tmp_path, byte_tokenizer):
    byte_tokenizer.save_pretrained(tmp_path)
    text = "a é€😀 b"
    tokens = byte_tokenizer.encode(text, add_special_tokens=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "epoch_folder", lambda *_: tmp_path)
        spec = more.grid(resolve(EXPLORED, scale="smoke"))[0].specs["scores"]
        cut = explorer.Cutter(spec.completions, Store(tmp_path))
        pieces = cut(text, [*tokens, byte_tokenizer.eos_token_id])
    assert "".join(pieces) == text and len(pieces) == len(tokens) + 1
    assert [piece for piece in pieces if piece] == list(text)


# ---------------------------------------------------------------------------- the page


def test_the_page_holds_the_data_and_asks_for_nothing(made):
    *_, data, path, _ = made
    text = path.read_text(encoding="utf-8")
    assert unpack(text) == json.loads(json.dumps(data))
    assert not re.search(r"(src|href)=\"(https?:)?//|url\(|@import|fetch\(", text)
    assert "innerHTML" not in text and "nasty" not in text  # all but the data is ours
    assert "20 completions of each of 12 test problems of MiniGSM" in " ".join(
        text.split()
    )
    for target in re.findall(r'href="([^"#:]+)"', text):
        assert path.with_name(target).is_file(), target


def test_what_does_not_fit_is_left_out_and_told(made, monkeypatch, tmp_path):
    settings, _, data, *_ = made
    whole = len(explorer.pack(data)["packed"])
    monkeypatch.setattr(explorer, "MOST_BYTES", whole - 1)
    part = explorer.pack(data)
    assert (part["shown"], part["depth"]) == (PROBLEMS, DRAWN // 2)
    monkeypatch.setattr(explorer, "MOST_BYTES", whole // 3)
    part = explorer.pack(data)
    assert part["shown"] < PROBLEMS and part["depth"] == 0
    assert len(part["packed"]) <= whole // 3
    monkeypatch.setattr(explorer, "collect", lambda *_: data)
    explorer.write_page(tmp_path / "part.html", settings, None)
    text = (tmp_path / "part.html").read_text(encoding="utf-8")
    assert f"the first\n{part['shown']} problem" in text
    assert len(unpack(text)["problems"]) == part["shown"]


def test_no_page_where_the_chapter_failed_or_nothing_is_stored(tmp_path):
    left = tmp_path / "explorer.html"
    for outcomes in ([], [Outcome(EXPLORED, 1.0, "it failed")], WELL):
        left.touch()  # of a run before
        made = explorer.write_explorer(tmp_path, "smoke", outcomes, Store(tmp_path))
        assert made is None and not left.exists()


def test_the_report_of_stored_stages_has_the_page_and_leads_to_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("GSMLIB_RUNS", str(tmp_path))
    monkeypatch.delenv("GSMLIB_FIGURES", raising=False)
    store, chapter = Store(tmp_path / "store"), find(EXPLORED)
    settings = chapter.resolve(scale="smoke")
    table = more.table(settings, store)
    for figure, rows in (("fig7a", table["k"].isna()), ("fig7b", table["k"].notna())):
        drawing = chapter.draw(figure, table[rows])
        chapter.export(figure, drawing, table[rows], settings)
    monkeypatch.setattr(
        explorer, "sample", lambda *_: pytest.fail("it reads what is not stored")
    )
    index = report.write_report_page("smoke", WELL, store)
    assert index.read_text().count('href="explorer.html"') == 2
    data = unpack(index.with_name("explorer.html").read_text(encoding="utf-8"))
    assert len(data["problems"]) == settings.test_problems
    failed = [Outcome(EXPLORED, 1.0, "it failed")]
    assert (
        "explorer.html"
        not in report.write_report_page("smoke", failed, store).read_text()
    )
    assert chapter.name == page.EXPLORED


# ------------------------------------------------------------------------- the browser

PROBE = """<script>
const told = () => ({
  address: location.hash, heading: byId("heading").textContent,
  question: byId("question").textContent.replaceAll("<", "‹"),
  nasty: document.querySelectorAll("#nasty").length,
  problems: [...byId("problem").options].map((each) => Number(each.value)),
  rows: Object.fromEntries([...byId("methods").rows].map((row) => [row.dataset.method,
    [...row.cells].map((cell) => cell.innerText)])),
  values: ["n", "k"].map((name) => byId(name).getAttribute("aria-valuetext")),
  ranks: [...document.querySelectorAll("#completions .completion")].map(
    (each) => each.firstChild.textContent),
  text: document.querySelector("#completions pre")?.textContent,
  colours: document.querySelectorAll("#completions [data-level]").length,
  forced: document.querySelectorAll("#completions .forced").length,
  overflow: document.documentElement.scrollWidth - innerWidth,
});
const wait = () => new Promise((resolve) => setTimeout(resolve, 20));
const change = (name, value, kind) => {
  byId(name).value = value;
  byId(name).dispatchEvent(new Event(kind, {bubbles: true}));
};
const press = (key, target = document.body) => target.dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true}));
addEventListener("load", async () => {
  while (byId("explorer").hidden && !byId("status").textContent.includes("cannot"))
    await wait();
  const found = [told()];
  for (const act of [ACTS]) {
    act();
    await wait();
    found.push(told());
  }
  const asked = performance.getEntriesByType("resource").length;
  parent.postMessage(JSON.stringify({found, asked, width: innerWidth}), "*");
});
</script>"""


def show(path, width=1280, acts="", **place):
    """Open the page at a place and act on it; return what it shows at each step."""
    probe = PROBE.replace("ACTS", acts)
    told, said = browse(path, width, probe, f"#{urlencode(place)}")
    assert not said and not told["asked"] and told["width"] == width
    assert all(step["overflow"] <= 0 for step in told["found"])
    return told["found"]


def shown_accuracy(step, method):
    """Return what a row shows of all problems: mean, low and high in percent."""
    return [float(number) for number in re.findall(r"[\d.]+", step["rows"][method][2])]


@needs_browser
@pytest.mark.parametrize(("n", "k"), [(4, 3), (13, 2), (20, 10)])
def test_a_browser_shows_what_was_exported(made, tmp_path, n, k):
    _, table, data, path, _ = made
    exported = as_exported(table, tmp_path)
    (step,) = show(path, problem=7, n=n, k=k, seed=1)
    run = data["problems"][7]["runs"][1]
    for method, label in LABELS.items():
        if method != more.TOP_K_VOTE and n in more.along_axis(DRAWN):
            assert shown_accuracy(step, label) == exported[label, n, None]
        curve = next(
            i
            for i, curve in enumerate(data["curves"])
            if curve["label"] == label and curve["n"] in (None, n)
        )
        at = data["curves"][curve]["points"].index(n if method in more.METHODS else k)
        assert step["rows"][label][1].startswith(f"{run['wins'][curve][at] / 10:.1f} %")
    if n in (4, 13) and k in more.along_axis(n):  # of the settings' counts
        voted = exported[more.TOP_K_VOTE, n, k]
        assert shown_accuracy(step, more.TOP_K_VOTE) == voted
    assert step["heading"].startswith("Problem 7 ")
    assert step["address"] == f"#problem=7&n={n}&k={k}&seed=1"


@needs_browser
@pytest.mark.parametrize("width", [PHONE, 1280])
def test_sliders_keys_and_filters_change_what_is_shown(made, width):
    _, _, data, path, _ = made
    acts = """
      () => change("n", 3, "input"), () => change("k", 1, "input"),
      () => press("ArrowRight"), () => press("ArrowLeft"),
      () => press("ArrowRight", byId("n")), () => byId("colours").click(),
      () => change("seed", 1, "change"), () => change("order", "answer", "change"),
      () => change("kind", 4, "change"), () => byId("next").click(),
      () => { location.hash = "#problem=5&n=7&k=3"; },
    """
    steps = show(path, width, acts, problem=3, n=20, k=5)
    first, n, k, right, left, slider, colours, seed, answer, kind, after, typed = steps
    assert first["question"] == NASTY.replace("<", "‹") and not first["nasty"]
    assert first["values"] == ["20 completions", "5 voters"]
    assert n["values"] == ["4 completions", "4 voters"]  # no more voters than seen
    assert k["values"] == ["4 completions", "2 voters"]
    assert k["address"] == "#problem=3&n=4&k=2"
    assert "vote of the top 2" in k["rows"][more.TOP_K_VOTE][0]
    assert [step["heading"][:9] for step in (right, left, slider)] == [
        "Problem 4",
        "Problem 3",
        "Problem 3",
    ]
    pieces = [data["pieces"][piece] for piece in data["problems"][3]["tokens"][0]]
    assert first["text"] == "".join(text or " [end]" for text, _ in pieces)
    assert first["forced"] == sum(forced for _, forced in pieces)
    assert first["colours"] == 0 and colours["colours"] == len(pieces)
    assert colours["address"].endswith("&colours=1")
    assert "text" in first and "text" not in seed  # texts are the first seed's
    assert len(seed["ranks"]) == DRAWN and seed["ranks"] != answer["ranks"]
    none = [i for i, p in enumerate(data["problems"]) if p["runs"][1]["kind"] == 4]
    assert kind["problems"] == after["problems"] == none
    place = none.index(int(kind["address"].partition("=")[2].partition("&")[0]))
    following = none[(place + 1) % len(none)]
    assert after["heading"].startswith(f"Problem {following} ")
    assert typed["heading"].startswith("Problem 5 ") and "text" in typed
    assert typed["address"] == "#problem=5&n=7&k=3"


@needs_browser
def test_a_place_that_does_not_exist_leads_to_one_that_does(made):
    *_, path, _ = made
    (step,) = show(path, problem=99, n="many", k=500, order="odd", kind=9, other=1)
    assert step["address"] == "#problem=0&n=20&k=20"
    (step,) = show(path, problem=0, kind=2, n=11)  # no completion of it is right
    assert step["heading"].endswith(KINDS[4]) and len(step["problems"]) == PROBLEMS
    assert step["values"][0] in ("10 completions", "13 completions")
