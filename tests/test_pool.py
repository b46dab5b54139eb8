"""The plan: parents first, only what is missing, the same rows however it is made."""

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from gsmlib import progress as bars
from gsmlib.chapters import (
    CHAPTERS,
    calculator,
    dropout,
    find,
    finetuning_scaling,
    resolve,
    test_at_n,
    verification,
)
from gsmlib.environment import product_rate
from gsmlib.method.sizes import SIZES
from gsmlib.records import SettingsError
from gsmlib.report import run as report
from gsmlib.study import estimates, pool, results, specs, stages
from gsmlib.study.estimates import (
    TOKENS,
    estimate_disk,
    estimate_flops,
    estimate_memory,
    estimate_seconds,
)
from gsmlib.study.pool import (
    cost_table,
    count_workers,
    list_tasks,
    needed_tasks,
    plan_table,
    prepare,
    work_off,
)
from gsmlib.study.stages import locate, work_of
from gsmlib.study.store import Store

NOTEBOOKS = [chapter.name for chapter in CHAPTERS if chapter.grid]
STUDYS = set(stages.STAGES) - {specs.ReleasedSpec}  # of MiniGSM: nothing released


def last_stages(*notebooks, **changes):
    return [
        spec
        for name in notebooks or NOTEBOOKS
        for spec in find(name).stages(resolve(name, scale="smoke", **changes))
    ]


def last_pair():
    """The greedy solutions and the scores of Fig 5's last point."""
    point = verification.grid(resolve("03_verification", scale="smoke"))[-1]
    return point.specs["greedy"], point.specs["scores"]


def parents(spec):
    return locate(spec).parents


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store that two processes filled."""
    store = Store(tmp_path_factory.mktemp("prepared"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "FEW_SECONDS", 0)
        patch.setenv("GSMLIB_WORKERS", "2")
        prepare(last_stages(), store)
    return store


def made(store):
    """The folders of all artifacts, and what else lies beside them."""
    return {path for path in store.root.glob("*/*") if path.suffix != ".lock"}


# ------------------------------------------------------------------------ what is to do


def test_parents_come_first_and_each_stage_once(store):
    specs = [task.spec for task in list_tasks(last_stages(), store)]
    assert len(set(specs)) == len(specs)
    for place, spec in enumerate(specs):
        assert set(parents(spec)) <= set(specs[:place])
    kinds = {type(spec) for spec in specs}
    assert kinds == set(STUDYS)


def test_what_only_finished_stages_were_made_of_is_not_needed(store):
    spec = last_stages("03_verification")[1]
    names = [type(s).__name__ for s in needed_tasks(list_tasks([spec], store))]
    assert names.count("FinetuneSpec") == 1 and names[-1] == "ScoreSpec"
    results.obtain(spec.completions.generator, store)
    needed = needed_tasks(list_tasks([spec], store))
    assert spec.completions.generator not in needed and spec in needed
    results.score(spec, store)
    assert not needed_tasks(list_tasks([spec], store))


def test_what_is_asked_for_is_needed_though_its_child_is_done(store):
    scores = last_stages("03_verification")[1]
    results.score(scores, store)
    shutil.rmtree(stages.folder_of(scores.completions, store))
    store = Store(store.root)
    assert not needed_tasks(list_tasks([scores], store))
    needed = needed_tasks(list_tasks([scores, scores.completions], store))
    assert list(needed) == [scores.completions]


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert pool.count_cores() == os.cpu_count()


def test_estimates_grow_with_what_there_is_to_do():
    greedy, scores = last_pair()
    verifier = scores.verifier
    for spec, change in (
        (greedy.generator, {"model": "mini-4m"}),
        (scores.completions, {"n": 999}),
        (scores.completions, {"n_problems": 999}),
        (verifier, {"training": verifier.training.model_copy(update={"epochs": 9})}),
        (scores, {"completions": scores.completions.model_copy(update={"n": 99})}),
    ):
        more = spec.model_copy(update=change)
        assert estimate_seconds(work_of(more)) > 1.5 * estimate_seconds(work_of(spec))


def test_estimates_count_a_wide_models_steps():
    """Adam's part of small batches; what is shared fills a batch all the same."""
    spec = last_pair()[1].verifier
    start = spec.base.model_copy(update={"model": "smollm2-135m"})
    training = spec.training.model_copy(update={"group_size": 4, "language_weight": 1})
    spec = spec.model_copy(update={"start": start, "training": training})

    def changed(**new):
        new = training.model_copy(update=new)
        return work_of(spec.model_copy(update={"training": new}))

    few, many = changed(batch_tokens=8_000), changed(batch_tokens=4_000)
    more = (many.steps - few.steps) * estimates.STEP_SECONDS * 135e6
    assert many.steps == pytest.approx(2 * few.steps)
    grown = estimate_seconds(many) - estimate_seconds(few)
    assert grown == pytest.approx(more)
    shared = changed(batch_tokens=4_000, shared_language=True)
    assert shared.steps == many.steps and shared.tokens < many.tokens


def test_estimates_are_of_this_processor_and_precision(monkeypatch):
    """The part that is products' goes by their rate here, in the stage's precision."""
    rates = {"fp32": 1e11, "bf16": 1e10}
    monkeypatch.setattr(estimates, "product_rate", rates.get)
    for precision in rates:
        chosen = dict(precision=precision, sampling_precision=precision)
        work = {work_of(t.spec) for t in list_tasks(last_stages(**chosen), Store("no"))}
        assert {one.kind for one in work} == {"train", "sample", "score"}
        assert {one.precision for one in work} == {precision}
    slow = work.pop()
    fast = slow._replace(precision="fp32")
    more = estimate_flops(slow) * (1 / 1e10 - 1 / 1e11) / estimates.PRODUCT_SHARE
    grown = estimate_seconds(slow) - estimate_seconds(fast)
    assert grown == pytest.approx(more)


def test_the_rate_of_products_is_measured_once(monkeypatch):
    """Against a product timed by hand, which may be disturbed: far less or more."""
    rate = product_rate("fp32")
    matrix = torch.ones(1024, 1024)
    began = time.perf_counter()
    matrix @ matrix
    by_hand = 2 * 1024**3 / (time.perf_counter() - began) / torch.get_num_threads()
    assert by_hand / 30 < rate < 300 * by_hand
    monkeypatch.setattr(time, "perf_counter", None)
    assert product_rate("fp32") == rate


def test_flops_are_six_or_two_a_parameter_and_token():
    greedy, scores = last_pair()
    stages = [scores.completions, scores, greedy.generator, scores.verifier]
    for spec, each in zip(stages, (2, 2, 6, 6), strict=True):
        parameters = 1e6 * SIZES["mini-0.2m"].millions
        assert estimate_flops(work_of(spec)) == each * parameters * work_of(spec).tokens


def test_tokens_of_shared_questions_count_once():
    scores = last_pair()[1]
    completions = scores.completions
    question, solution = TOKENS["minigsm"]
    expected = completions.n_problems * (completions.n * solution + question)
    assert work_of(completions).tokens == work_of(scores).tokens == expected
    rows = scores.verifier.completions.n_problems * scores.verifier.completions.n
    one = scores.verifier.replace(
        training=scores.verifier.training.replace(group_size=1)
    )
    assert work_of(one).tokens == rows * (2 * question + 2 * solution)
    assert work_of(scores.verifier).tokens < work_of(one).tokens


def test_memory_and_disk_grow_with_what_is_held():
    greedy, scores = last_pair()
    generator, verifier = greedy.generator, scores.verifier
    big = generator.model_copy(update={"model": "gpt2-xl"})
    adam = 12 * 1e6 * SIZES["gpt2-xl"].millions  # beside the weights themselves
    sampled = scores.completions.model_copy(update={"generator": big})
    assert estimate_memory(work_of(big)) > adam + estimate_memory(work_of(generator))
    assert estimate_memory(work_of(big)) > estimate_memory(work_of(sampled))
    longer = sampled.model_copy(update={"max_length": 100})
    assert estimate_memory(work_of(longer)) <= estimate_memory(work_of(sampled))
    one = generator.model_copy(update={"keep_epochs": (2,)})
    assert estimate_disk(work_of(generator)) == 2 * estimate_disk(work_of(one))
    two = verifier.model_copy(update={"checkpoints": 2})
    assert estimate_disk(work_of(two)) == 2 * estimate_disk(work_of(verifier))
    many = scores.completions.model_copy(update={"n": 400})
    few = estimate_disk(work_of(scores.completions))
    assert estimate_disk(work_of(many)) > 10 * few


def test_the_plan_is_printed_with_gpu_hours_for_gpus(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    report.print_plan("smoke")
    small = capsys.readouterr().out
    assert "memory_gb" in small and "disk_gb" in small and "Left, estimated" in small
    assert "core_minutes" not in small and "seconds on one core" in small
    assert "gpu_hours" not in small
    report.print_plan("gpt2")
    large = capsys.readouterr().out
    assert "gpu_hours" in large and "30 % of the peak of an NVIDIA A100" in large
    assert not list(tmp_path.glob("store/*/*"))


@pytest.mark.parametrize(
    ("tasks", "workers", "words"),
    [
        ({}, 2, "nothing to compute"),
        ({"a": 780}, 4, "1 stage to compute, about 13 minutes by 1 process"),
        ({"a": 7e3, "b": 8e3}, 2, "2 stages to compute, about 2 hours 5 minutes by 2"),
    ],
)
def test_the_work_is_told_in_words(tasks, workers, words, monkeypatch):
    monkeypatch.setenv("GSMLIB_WORKERS", str(workers))
    task = list_tasks(last_stages("02_test_at_n"), Store("nowhere"))[0]
    needed = {name: task._replace(seconds=seconds) for name, seconds in tasks.items()}
    assert pool.describe_work(needed).startswith(words)


@pytest.mark.parametrize(
    "stages, workers, seconds",
    [
        ([("a", 700, ()), ("b", 700, ())], 2, 700),
        ([("a", 700, ()), ("b", 700, ("a",))], 2, 800),  # one after the other
        ([("a", 700, ()), ("b", 700, ("a",))], 1, 1400),
        ([("a", 700, ()), *((i, 700, ("a",)) for i in range(9))], 2, 3500),
        ([("b", 700, ("done",))], 3, 280),
    ],
)
def test_stages_that_wait_for_each_other_are_not_shared_out(stages, workers, seconds):
    assert estimates.share_out(stages, workers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("rate", "precision", "warned"),
    [(1e10, "bf16", True), (1e10, "fp32", False), (2e11, "bf16", False)],
)
def test_bfloat16_where_it_is_slow_is_told(rate, precision, warned, monkeypatch):
    rates = {"fp32": 1e11, "bf16": rate}
    monkeypatch.setattr(pool, "product_rate", rates.get)
    monkeypatch.setattr(pool, "has_gpu", lambda: False)
    tasks = list_tasks(last_stages("03_verification", precision=precision), Store("no"))
    said = pool.describe_work({task.spec: task for task in tasks})
    words = "bfloat16 takes this processor 10.0 times as long as float32"
    assert (words in said) is warned


def test_what_finished_stages_took_is_read_from_the_store(prepared, store):
    stages = list_tasks(last_stages(), prepared)
    costs = cost_table(stages, prepared)
    assert costs["stages"].sum() == len(stages) and (costs["minutes"] >= 0).all()
    assert prepared.seconds(stages[0].place) < 60 * costs["minutes"].sum() + 1
    assert cost_table(list_tasks(last_stages(), store), store).empty


def test_the_table_counts_stages_and_what_is_left(prepared, store):
    empty = plan_table(list_tasks(last_stages(), store))
    full = plan_table(list_tasks(last_stages(), prepared))
    assert (empty["done"] == 0).all() and (empty["core_minutes"] > 0).all()
    assert (full["done"] == full["stages"]).all() and full["core_minutes"].eq(0).all()
    left = ["gpu_hours", "disk_gb", "memory_gb"]
    assert (empty[left] > 0).all(axis=None) and full[left].eq(0).all(axis=None)
    assert empty["stages"].equals(full["stages"])
    assert set(empty["stage"]) == {stages.STAGES[kind].name for kind in STUDYS}


def test_workers_may_be_set(monkeypatch):
    monkeypatch.setenv("GSMLIB_WORKERS", "5")
    assert count_workers() == 5
    task = list_tasks(last_stages("02_test_at_n"), Store("nowhere"))[0]
    for wrong in ("none", "-1", "0", "1.5"):
        monkeypatch.setenv("GSMLIB_WORKERS", wrong)
        with pytest.raises(SettingsError, match="GSMLIB_WORKERS is"):
            count_workers()
        with pytest.raises(SettingsError, match="GSMLIB_WORKERS is"):
            pool.describe_work({task.spec: task._replace(seconds=1)})  # little work
    monkeypatch.delenv("GSMLIB_WORKERS")
    assert 1 <= count_workers() <= pool.count_cores()


def test_no_more_workers_than_there_is_memory_for(monkeypatch):
    """By what the largest stage takes, as the plan says it; one in any case."""
    monkeypatch.delenv("GSMLIB_WORKERS", raising=False)
    monkeypatch.setattr(pool, "count_cores", lambda: 8)
    monkeypatch.setattr(pool, "has_gpu", lambda: False)
    free = SimpleNamespace(available=30 * 2**30)
    monkeypatch.setattr(pool.psutil, "virtual_memory", lambda: free)
    tasks = list_tasks(last_stages(), Store("nowhere"))
    long = {task.spec: task._replace(seconds=3600) for task in tasks}
    assert "by 8 processes" in pool.describe_work(long)
    grown = {s: t._replace(work=t.work._replace(model="gpt2")) for s, t in long.items()}
    peak = max(estimate_memory(task.work) for task in grown.values())
    fit = int(free.available // peak)
    assert 1 < fit < 8 and f"by {fit} processes" in pool.describe_work(grown)
    free.available = 2**30
    assert "by 1 process" in pool.describe_work(grown)


# --------------------------------------------------------------------------- doing it


@pytest.mark.parametrize(
    ("notebook", "table"),
    [
        ("01_calculator", calculator.table),
        ("02_test_at_n", test_at_n.table),
        ("03_verification", verification.table),
        ("04_finetuning_scaling", finetuning_scaling.table),
        ("04_finetuning_scaling", finetuning_scaling.direct_table),
        ("07_dropout", partial(dropout.table, panel="a")),
        ("07_dropout", partial(dropout.table, panel="b")),
        ("07_dropout", partial(dropout.table, panel="c")),
    ],
)
def test_everything_a_table_asks_for_was_prepared(prepared, notebook, table):
    before = made(prepared)
    table(resolve(notebook, scale="smoke"), Store(prepared.root))
    assert made(prepared) == before
    assert not list(prepared.root.glob("*/*.work"))


def test_several_processes_make_the_same_rows_as_one(prepared, store):
    for spec in last_stages("03_verification")[:2]:
        results.obtain(spec, store)
        reads = results.sample if "n" in type(spec).model_fields else results.score
        one, several = reads(spec, store), reads(spec, prepared)
        shared = ["problem", "sample", *({"text", "correct"} & set(one))]
        pd.testing.assert_frame_equal(one[shared], several[shared])


def test_little_work_and_one_worker_start_no_processes(store, monkeypatch):
    monkeypatch.setattr(pool, "processes", lambda workers: pytest.fail("started"))
    monkeypatch.setenv("GSMLIB_WORKERS", "2")
    few = last_stages("02_test_at_n", test_problems=1)
    prepare(few, store)
    assert all(store.has(locate(spec)) for spec in few)
    monkeypatch.setattr(pool, "FEW_SECONDS", 0)
    monkeypatch.setenv("GSMLIB_WORKERS", "1")
    prepare(last_stages(), store)
    assert all(store.has(locate(spec)) for spec in last_stages())


def test_what_the_store_has_is_said_once(prepared, capsys, monkeypatch):
    monkeypatch.setattr(pool, "_announced", set())
    for asked, said in ((1, 1), (1, 0), (2, 1), (2, 0), (1, 0)):
        prepare(last_stages("03_verification")[:asked], prepared)
        assert capsys.readouterr().out.count("from the store") == said


def test_a_stage_that_fails_here_stops_what_rests_on_it_alone(
    store, monkeypatch, capsys
):
    """In this process as in several: the others are computed, and one bar moves."""
    specs, asked = last_stages(), []
    tasks = pool.needed_tasks(list_tasks(specs, store))
    first = next(iter(tasks))

    def obtain(spec, store):
        asked.append(spec)
        bars.bar(10).update(5)
        if spec == first:
            raise ValueError("it is broken")

    monkeypatch.setattr(pool, "obtain", obtain)
    pool._work_off_here(tasks, store)
    rests = {spec for spec in tasks if first in ancestors(spec)}
    assert set(asked) == set(tasks) - rests and rests
    assert "A stage failed: it is broken" in capsys.readouterr().out


def ancestors(spec):
    parents = set(locate(spec).parents)
    return parents.union(*map(ancestors, parents))


def submit_to(results):
    """A `submit` whose futures are done at once, in the order of `results`."""
    asked = []

    def submit(spec, alone):
        asked.append(spec)
        future = Future()
        outcome = results(spec)
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future

    return submit, asked


def test_the_longest_of_the_ready_stages_go_first(store):
    needed = needed_tasks(list_tasks(last_stages(), store))
    submit, asked = submit_to(lambda spec: "done")
    assert work_off(needed, submit) == []
    assert set(asked) == set(needed)
    for place, spec in enumerate(asked):
        assert set(parents(spec)) <= set(asked[:place])
    first = [needed[spec].seconds for spec in asked if not parents(spec)]
    assert first == sorted(first, reverse=True)


def test_a_stage_for_which_all_others_wait_is_told_so(store):
    chain = list_tasks(last_stages("03_verification"), store)
    one = next(task for task in chain if task.asked)
    needed = needed_tasks(list_tasks([one.spec], store))
    seen = {}

    def submit(spec, alone):
        seen[spec] = alone
        future = Future()
        threading.Timer(0.05, future.set_result, ["done"]).start()
        return future

    assert work_off(needed, submit) == []
    assert seen[one.spec] and seen[next(iter(needed))] == (
        sum(not parents(spec) for spec in needed) == 1
    )


def test_threads_of_a_worker_are_set(store, monkeypatch):
    spec = list_tasks(last_stages(), store)[0].spec
    threads = []
    monkeypatch.setattr(
        pool, "obtain", lambda *_: threads.append(torch.get_num_threads())
    )
    before = torch.get_num_threads()
    try:
        pool.compute_quietly(spec, store.root, 1)
        pool.compute_quietly(spec, store.root, 2)
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2]


def test_a_worker_says_how_far_its_stage_is(store, monkeypatch):
    needed = needed_tasks(list_tasks(last_stages(), store))
    spec, told = next(iter(needed)), SimpleQueue()

    def obtain(*_):
        with bars.bar(4) as bar:
            for _ in range(3):
                bar.update()
                bars.bar(1, disable=True).update()  # as the scores of a search's step

    monkeypatch.setattr(pool, "obtain", obtain)
    pool.compute_quietly(spec, store.root)  # by nobody's worker: it tells nobody
    monkeypatch.setattr(pool, "SAY_EVERY", 0)
    monkeypatch.setattr(pool, "_told", told)
    pool.compute_quietly(spec, store.root)
    said = [told.get() for _ in range(told.qsize())]
    assert said == [(spec, share, 0) for share in (0, 0.25, 0.5, 0.75)]


def test_shares_that_workers_say_move_the_bar_whatever_the_estimate(store):
    needed = needed_tasks(list_tasks(last_stages(), store))
    first, second, third = list(needed)[:3]
    needed = {spec: needed[spec]._replace(seconds=100.0) for spec in needed}
    board = pool._Progress(needed)
    with board.bar:
        board.hear(first, 0.5, 0.0)
        board.hear(first, 0.2, 0.0)  # its next bar
        board.hear(second, 0.0, 0.0)
        board.show([first, second, third])  # the third waits for a worker
        assert board.bar.n == pytest.approx(50, abs=1)
        assert board.bar.desc.count(" · ") == 1
        board.began[second] -= 20  # by its time, until it is further than begun
        board.show([first, second, third])
        board.began[third] = board.began[second] - 20  # as seen before any was heard
        board.show([first, second, third])
        assert board.bar.n == pytest.approx(70, abs=1)
        board.hear(third, 0.0, 0.0)
        board.show([first, second, third])
        assert board.bar.n == pytest.approx(70, abs=1)
        board.hear(second, 0.75, 0.0)
        board.show([first, second])
        assert board.bar.n == pytest.approx(125, abs=1)


def test_the_time_left_goes_by_the_speed_of_this_run(store):
    """What a stage went on from took no time here."""
    needed = needed_tasks(list_tasks(last_stages(), store))
    spec, *_ = needed
    needed = {spec: needed[spec]._replace(seconds=100.0)}
    for tell in (pool._Progress.hear, pool._Progress.show_share):
        board = pool._Progress(needed)
        with board.bar:
            board.bar.start_t -= 10
            tell(board, spec, 0.7, 0.6)
            tell(board, spec, 0.1, 0.0)  # its next bar
            board.show([spec])
            assert board.bar.n == pytest.approx(70)
            assert "00:10 so far, 00:30 left" in str(board.bar)


def test_workers_processes_are_heard(store, monkeypatch):
    heard = set()
    monkeypatch.setattr(pool._Progress, "hear", lambda _, spec, *__: heard.add(spec))
    needed = needed_tasks(list_tasks(last_stages("02_test_at_n"), store))
    pool._work_off_in_processes(needed, store, 2)
    assert heard == set(needed)


def test_what_rests_on_a_failed_stage_is_left(store, capsys):
    needed = needed_tasks(list_tasks(last_stages(), store))
    broken = next(spec for spec in needed if not parents(spec))
    error = FloatingPointError("The loss is nan at step 3.")
    submit, asked = submit_to(lambda spec: error if spec == broken else "done")
    assert work_off(needed, submit) == [broken]
    assert not any(broken in parents(spec) for spec in asked)
    others = [spec for spec in needed if not parents(spec)]
    assert set(others) <= set(asked)
    assert "A stage failed: The loss is nan" in capsys.readouterr().out


def test_a_process_that_dies_is_named_and_the_rest_goes_on(capsys):
    with pool.processes(2):
        raise BrokenProcessPool
    assert "A process died" in capsys.readouterr().out


def test_what_a_died_process_leaves_is_computed_here(store, monkeypatch, capsys):
    """Under a bar again, and not called computed before it is."""
    wanted = last_stages("02_test_at_n")

    def die(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(pool, "work_off", die)
    monkeypatch.setattr(pool, "_count_workers_for", lambda _: 2)
    prepare(wanted, store)
    said = capsys.readouterr().out
    assert said.index("A process died") < said.index("Computed in")
    assert all(stages.is_done(spec, store) for spec in wanted)


@pytest.mark.parametrize("given", [None, "glibc.malloc.check=0"])
def test_workers_inherit_threads_and_allocator(monkeypatch, given):
    """Large pages, unless the user has said otherwise; this process stays as it was."""
    monkeypatch.delenv(pool.THREADS, raising=False)
    monkeypatch.delenv(pool.ALLOCATOR, raising=False)
    if given:
        monkeypatch.setenv(pool.ALLOCATOR, given)
    before = dict(os.environ)
    with pool.processes(1) as executor:
        asked = [executor.submit(os.getenv, n) for n in (pool.THREADS, pool.ALLOCATOR)]
        threads, allocator = [each.result() for each in asked]
    assert threads == str(pool.count_cores())
    assert allocator == given or (not given and allocator == pool.LARGE_PAGES)
    assert dict(os.environ) == before


STOPPED = """
import os, pathlib, sys, time
from tqdm import tqdm
from gsmlib.study import pool

def work(file):
    for _ in tqdm(range(600)):
        file.touch()
        time.sleep(0.1)

if __name__ == "__main__":
    files = [pathlib.Path(sys.argv[1]) / name for name in ("a", "b")]
    try:
        with pool.processes(2) as executor:
            for file in files:
                executor.submit(work, file)
            while not all(file.exists() for file in files):
                time.sleep(0.1)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        print("stopped")
"""


def test_workers_that_are_stopped_leave_nothing_behind(tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert "leaked" not in done.stderr and "Traceback" not in done.stderr


def test_workers_of_a_killed_process_end_too(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        STOPPED.replace("raise KeyboardInterrupt", "os.kill(os.getpid(), 9)")
    )
    done = subprocess.run([sys.executable, str(script), str(tmp_path)])
    assert done.returncode == -9
    files = [tmp_path / name for name in ("a", "b")]
    touched = []
    for _ in range(20):  # they touch their files ten times a second
        time.sleep(0.5)
        touched.append([file.stat().st_mtime for file in files])
        if touched[-2:-1] == touched[-1:]:
            break
    assert len(touched) < 20


SCRIPT = """
from gsmlib.chapters import test_at_n
from gsmlib.study import pool
from gsmlib.study.store import Store

print("script")
pool.FEW_SECONDS = 0
table = test_at_n.table(test_at_n.CHAPTER.settings(scale="smoke"), Store())
print(len(table), "rows")
"""


def test_a_script_needs_no_guard_for_the_processes_that_it_starts(tmp_path):
    """They neither run it again nor die of Python's rule for those that would."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    where = {"GSMLIB_CACHE": str(tmp_path / "store"), "GSMLIB_WORKERS": "2"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | where,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("script\n") == 1 and " rows\n" in done.stdout
    assert "by 2 processes" in said
    assert "Traceback" not in said and "died" not in said


def test_a_stage_that_outlasts_its_estimate_still_shows_the_time(capsys, monkeypatch):
    monkeypatch.setattr(bars, "LOG_EVERY", 0.0)
    task = list_tasks(last_stages("03_verification"), Store("nowhere"))[0]
    needed = {"long": task._replace(seconds=1e-6)}
    progress = pool._Progress(needed)
    with progress.bar:
        progress.show(["long"])
        capsys.readouterr()
        for _ in range(3):
            progress.show(["long"])
        assert capsys.readouterr().err.count("so far") == 3
