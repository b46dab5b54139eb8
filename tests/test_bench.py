"""The benchmark: every contender does the task it claims to, and the table adds up."""

import json

import numpy as np
import psutil
import pytest
import torch

import baselines
import bench
import endurance
from gsmlib.data import load_problems
from gsmlib.environment import project_root
from gsmlib.method import calculator as arithmetic
from gsmlib.method.batching import encode
from gsmlib.method.models import load_language_model
from gsmlib.method.recipe import TrainSettings


@pytest.fixture(scope="module")
def tiny():
    return load_language_model("tiny:random")


@pytest.fixture
def small(monkeypatch):
    """Sizes that take a second."""
    for name, value in dict(SAMPLES=3, STEPS=1, RELEASED_TOKENS=3).items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(baselines, "STEPS", 1)


def test_rates_are_medians_of_rounds_that_take_turns():
    turns = []

    def work(name):
        turns.append(name)
        return 5.0, 10.0

    contenders = [bench.Contender(n, lambda n=n: work(n), "fp32") for n in "ab"]
    rows = bench.compare("task", "token", contenders, 2)
    assert turns == list("ababab") + ["a"]  # the first warms up, the last is profiled
    for row in rows:
        assert len(row["rounds"]) == 2
        assert row["rate"] == pytest.approx(np.median(row["rounds"]))
        assert row["gflops"] == pytest.approx(2e-9 * row["rate"], rel=0.5)


def test_operators_are_told_apart_by_kind():
    a, b = torch.randn(2, 300, 300)
    shares = bench.operator_shares(lambda: [a @ b for _ in range(20)])
    assert list(shares) == list(bench.OPERATORS)
    assert shares["products with weights"] > 0.5
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    shares = bench.operator_shares(lambda: a[None].softmax(-1).bmm(b[None]))
    assert min(shares["products of attention"], shares["softmax and its sums"]) > 0


def test_flops_of_a_token_are_counted_by_hand(tiny):
    width, layers = tiny.model.config.n_embd, tiny.model.config.n_layer
    block = 12 * width**2 + 13 * width  # four matrices, their biases, two norms
    vocabulary = tiny.model.config.vocab_size * width
    expected = 2 * (layers * block + 2 * width + vocabulary) + 4 * layers * width * 7
    assert bench.token_flops(tiny, 7) == expected


def test_sampling_counts_real_tokens(tiny, small):
    rows = bench.bench_sampling(tiny, "mini-2m", 1, rows=3, new_tokens=4)
    half = ["generate, bf16"] * (bench.best_precision() == "bf16")
    assert [row["contender"] for row in rows] == [
        "ours",
        "ours, plain",
        "generate",
        "generate, calculator",
        "released algorithm",
        *half,
    ]
    assert all(row["rate"] > 0 for row in rows)


def test_generate_is_counted_up_to_the_end_token(tiny, monkeypatch):
    end = tiny.tokenizer.eos_token_id
    made = torch.tensor([[5, end, 9], [5, 6, 7]])

    def fake(ids, **_):
        return torch.cat([ids, made], 1)

    monkeypatch.setattr(tiny.model, "generate", fake)
    assert baselines.generate(tiny, ["One question?"], 2, 3, calculator=False) == 2 + 3


def test_both_plain_calculators_write_the_value(tiny, monkeypatch):
    text = "<<2+3="
    wanted = tiny.tokenizer.encode(arithmetic.completion(text))
    processor = baselines.PlainCalculator(tiny, start=0)
    ids = torch.tensor([tiny.tokenizer.encode(text)])
    for token in wanted:
        scores = processor(ids, torch.zeros(1, len(tiny.tokenizer)))
        assert int(scores.argmax()) == token
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    free = processor(ids, torch.zeros(1, len(tiny.tokenizer)))
    assert torch.isfinite(free).all()


def rows_of(lm, n):
    return [encode(lm.tokenizer, *p, 400) for p in load_problems("minigsm", "train", n)]


def test_the_loops_count_what_they_saw(small):
    lm = load_language_model("tiny:random")
    rows, settings = rows_of(lm, 12), TrainSettings(epochs=1, learning_rate=1e-4)
    pad = lm.tokenizer.pad_token_id
    total = sum(len(row.tokens) for row in rows)
    assert bench.Steps(lm.model, rows, (), settings, pad).tokens() == total
    few = settings.replace(batch_tokens=300)
    padded = baselines.PaddedLoop(lm.model, rows, (), few, pad)
    assert padded.n < len(rows) and 0 < padded.tokens() <= 400 * padded.n


def test_the_verifier_loops_count_completions(small, monkeypatch):
    for module in (bench, endurance):
        monkeypatch.setattr(module, "load_language_model", lambda _: tiny_again())
    rows = bench.bench_verifier(tiny_again(), "mini-2m", 1)
    assert [row["contender"] for row in rows][-1] == "padded"
    scored = bench.bench_scoring(tiny_again(), "mini-2m", 1)
    assert {row["unit"] for row in rows + scored} == {"completion"}
    assert all(row["rate"] > 0 and row["gflops"] > 0 for row in rows + scored)


def tiny_again():
    return load_language_model("tiny:random")


def test_ratios_and_shares_come_from_the_rows(tmp_path):
    names = {key for ours in bench.RATIOS.values() for key in ours[1:]}
    tasks = {ours[0] for ours in bench.RATIOS.values()}
    rows = [
        {"task": task, "contender": name, "unit": "token", "rounds": [1.0]}
        | {"rate": 6.0 if name.startswith("ours") else 2.0, "peak_share": 0.25}
        for task in tasks
        for name in names
    ]
    ratios = bench._ratios(rows)
    assert set(ratios) == {*bench.RATIOS, *bench.SHARES}
    assert {ratios[name] for name in bench.RATIOS} == {3.0}
    assert {ratios[name] for name in bench.SHARES} == {0.25}
    fp32 = [row for row in rows if "bf16" not in row["contender"]]  # an older processor
    assert set(ratios) - set(bench._ratios(fp32)) == {
        "sampling_vs_generate_bf16_mini",
        "sampling_vs_generate_bf16_smollm2",
    }
    table = bench.as_table({"rows": rows})
    assert table["times_slowest"].max() == 3.0
    file = tmp_path / "deep" / "results.json"
    for processor, value in (("one", 1 / 3), ("other", 5), ("one", 2 / 3)):
        machine = {"processor": processor}
        bench.write_results({"machine": machine, "long": value}, file)
    known = json.loads(file.read_text())
    assert {name: x["long"] for name, x in known.items()} == {"one": 0.6667, "other": 5}


def test_the_script_prints_a_table_and_writes_it(tmp_path, capsys, monkeypatch):
    row = {"task": "t", "contender": "ours", "unit": "token", "rate": 2.0}
    row |= {"rounds": [2.0], "gflops": 1.0, "precision": "fp32", "peak_share": 0.5}
    machine = {"processor": "a processor"}
    results = {"ratios": {"fast": 3.0}, "rows": [row], "machine": machine}
    asked = []
    monkeypatch.setattr(bench, "run_benchmarks", lambda *a: asked.append(a) or results)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr("sys.argv", ["bench.py", "--rounds", "1", "--no-smollm2"])
    bench.main()
    printed = capsys.readouterr().out
    assert (
        asked == [(1, False, bench.STEADY_TOKENS)]
        and "fast: 3" in printed
        and "ours" in printed
    )
    assert (tmp_path / "results.json").is_file()
    for option in ("--rounds", "--tokens"):
        monkeypatch.setattr("sys.argv", ["bench.py", option, "0"])
        with pytest.raises(SystemExit):
            bench.main()
        assert f"{option} is 0" in capsys.readouterr().err


def test_the_peak_is_a_rate():
    assert 1e8 < bench.gemm_peak("fp32", seconds=0.05) < 1e15


def test_peak_memory_is_at_least_what_is_held_now():
    held = psutil.Process().memory_info().rss / 1e9
    assert 0.9 * held <= endurance.peak_memory() < 1000


@pytest.mark.parametrize("task", ["finetune", "verifier", "score"])
def test_a_task_done_once_tells_its_peak(task, monkeypatch):
    monkeypatch.setattr(endurance, "load_language_model", lambda _: tiny_again())
    problems = endurance.problems
    monkeypatch.setattr(endurance, "problems", lambda n: problems(min(n, 50)))
    assert 0.1 < endurance._do_once(task, "mini-2m") < 100


def test_a_long_training_has_a_rate_for_each_tenth(monkeypatch):
    monkeypatch.setattr(endurance, "load_language_model", lambda _: tiny_again())
    monkeypatch.setattr(endurance, "BATCH_TOKENS", 500)
    problems = endurance.problems
    monkeypatch.setattr(endurance, "problems", lambda n: problems(min(n, 50)))
    rates, peak = endurance._train_long("mini-2m", 20_000)
    assert len(rates) == 10 and min(rates) > 0 and peak > 0


def test_the_fixed_shape_counts_its_tokens(small):
    lm = load_language_model("tiny:random")
    settings = TrainSettings(epochs=1, learning_rate=1e-4, batch_tokens=100)
    loop = baselines.OneShape(lm.model, settings, (2, 16))
    before = lm.model.lm_head.weight.clone()
    assert loop.tokens() == 3 * 32
    assert not torch.equal(before, lm.model.lm_head.weight)


def test_the_page_on_speed_has_the_results_of_the_committed_run():
    root = project_root()
    results = json.loads((root / "benchmarks" / "results.json").read_text())
    text = (root / "docs" / "speed.md").read_text()
    (told_of,) = [name for name in results if name in text]
    for name, value in results[told_of]["ratios"].items():
        (line,) = [x for x in text.splitlines() if f"`{name}`" in x]
        told = float(line.split("|")[3])
        assert told == pytest.approx(value, rel=0.01), name
