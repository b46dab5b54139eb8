"""Training: batches, masks, losses, the loop, checkpoints, against slow plain paths."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from gsmlib.method import attention, training
from gsmlib.method.batching import (
    IGNORE,
    Row,
    Targets,
    collate,
    cut_pieces,
    encode,
    group_rows,
    line_up,
    merge_equal,
    pair_rows,
    plan_epoch,
    plan_training,
)
from gsmlib.method.losses import (
    batch_losses,
    evaluate_losses,
    language_loss,
    verifier_loss,
)
from gsmlib.method.models import (
    Verifier,
    add_residual_dropout,
    find_reserved_token,
    new_mini_gpt,
    set_dropout,
)
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.training import train
from gsmlib.study import estimates

NAN = float("nan")
PAD = 0


def make_rows(count: int, label: float | None = NAN, seed: int = 0) -> list[Row]:
    """Random rows; label None draws 0 or 1, and the second token tells which."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        prompt, solution = generator.integers(2, 8, 2)
        tokens = generator.integers(5, 90, prompt + solution).tolist()
        mark = float(generator.integers(2)) if label is None else label
        tokens[1] = 3 + int(mark) if label is None else tokens[1]
        rows.append(Row(tokens, int(prompt), mark))
    return rows


def make_completions(
    problems: int, n: int, seed: int = 0, equal: int = 0, prompt: int = 20
) -> list[Row]:
    """`n` labelled rows for each problem, the first `equal` of them the same row."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(problems):
        size = prompt + generator.integers(-3, 4)
        question = generator.integers(5, 90, size).tolist()
        for j in range(n):
            solution = generator.integers(5, 90, generator.integers(2, 9)).tolist()
            row = Row(question + solution, size, float(generator.integers(2)))
            rows.append(rows[-1] if 0 < j < equal else row)
    return rows


def make_model(tokenizer, *, dropout: float = 0.0, seed: int = 0):
    return new_mini_gpt("tiny", tokenizer, dropout=dropout, seed=seed).model


def make_verifier(tokenizer, *, dropout: float = 0.0) -> Verifier:
    model = make_model(tokenizer, dropout=dropout)
    return Verifier(model, find_reserved_token(tokenizer))


def settings(**changes) -> TrainSettings:
    plain = dict(epochs=2, learning_rate=3e-3, batch_tokens=60)
    return TrainSettings(**(plain | changes))


def fit(model, rows, chosen: TrainSettings, **options) -> pd.DataFrame:
    return train(model, rows, chosen, pad_token=PAD, progress=False, **options)


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# -------------------------------------------------------------------- rows and targets


def test_encode_is_prompt_solution_end(byte_tokenizer):
    row = encode(byte_tokenizer, "1+1?", "#### 2", 100)
    end = byte_tokenizer.eos_token
    assert byte_tokenizer.decode(row.tokens) == "1+1?\n#### 2" + end
    assert byte_tokenizer.decode(row.tokens[: row.prompt_length]) == "1+1?\n"
    assert math.isnan(row.label) and row.cut == 0


def test_encode_cuts_and_counts(byte_tokenizer):
    row = encode(byte_tokenizer, "1+1?", "#### 2", 8, label=1.0)
    assert len(row.tokens) == 8 and row.cut == 4 and row.label == 1.0
    with pytest.raises(ValueError, match="no room for a solution"):
        encode(byte_tokenizer, "1+1?", "#### 2", 5)


def test_language_targets_by_hand():
    rows = [Row([5, 6, 7, 8, 9], 3), Row([5, 6, 7], 1)]
    i = IGNORE
    masked = collate(rows, PAD).language_targets.tolist()
    assert masked == [[i, i, 8, 9, i], [6, 7, i, i, i]]
    everything = collate(rows, PAD, Targets(True)).language_targets.tolist()
    assert everything == [[6, 7, 8, 9, i], [6, 7, i, i, i]]


@pytest.mark.parametrize(
    "level, on_question, expected",
    [
        ("token", False, [[NAN, NAN, NAN, 1, 1], [NAN, 0, 0, NAN, NAN]]),
        ("token", True, [[1, 1, 1, 1, 1], [0, 0, 0, NAN, NAN]]),
        ("solution", False, [[NAN, NAN, NAN, NAN, 1], [NAN, NAN, 0, NAN, NAN]]),
        ("solution", True, [[NAN, NAN, NAN, NAN, 1], [NAN, NAN, 0, NAN, NAN]]),
    ],
)
def test_verifier_targets_by_hand(level, on_question, expected):
    rows = [Row([5, 6, 7, 8, 9], 3, 1.0), Row([5, 6, 7], 1, 0.0)]
    batch = collate(rows, PAD, Targets(on_question, level))
    np.testing.assert_array_equal(batch.verifier_targets, expected)
    assert (batch.language_targets == IGNORE).all()  # labelled rows carry no language
    assert (collate([Row([5, 6], 1)], PAD).verifier_targets.isnan()).all()


# ------------------------------------------------------------------------------ losses


def test_language_loss_predicts_the_next_token():
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = math.log(9)  # P(token 2 after position 0) = 9 / 12
    targets = torch.tensor([[2, 1, IGNORE]])
    expected = (math.log(12 / 9) + math.log(4)) / 2
    assert float(language_loss(logits, targets)) == pytest.approx(expected)
    assert float(language_loss(logits, targets, 4)) == pytest.approx(expected / 2)


def test_verifier_loss_by_hand():
    scores = torch.tensor([[9.0, 0.5, 0.25], [9.0, 2.0, 9.0]])
    targets = torch.tensor([[NAN, 1.0, 0.0], [NAN, 1.0, NAN]])
    squared = (0.25 + 0.0625 + 1) / 3
    assert float(verifier_loss(scores, targets)) == pytest.approx(squared)
    logistic = sum(math.log1p(math.exp(x)) for x in (-0.5, 0.25, -2.0)) / 3
    assert float(verifier_loss(scores, targets, "bce")) == pytest.approx(logistic)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_question_and_padding_get_no_gradient(loss):
    rows = [Row([5, 6, 7, 8, 9], 3, 1.0), Row([5, 6, 7], 2, 0.0)]
    scores = torch.randn(2, 5, requires_grad=True)
    verifier_loss(scores, collate(rows, PAD).verifier_targets, loss).backward()
    seen = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(scores.grad != 0, seen)


def test_question_and_padding_get_no_language_gradient():
    logits = torch.randn(1, 6, 9, requires_grad=True)
    rows = [Row([5, 6, 7, 8], 2), Row([1] * 6, 1)]
    language_loss(logits, collate(rows, PAD).language_targets[:1]).backward()
    seen = (logits.grad != 0).any(-1)[0].tolist()
    assert seen == [False, True, True, False, False, False]


@pytest.mark.parametrize("verifies", [False, True])
def test_pad_token_does_not_matter(byte_tokenizer, verifies):
    make = make_verifier if verifies else make_model
    model = make(byte_tokenizer).eval()
    rows = make_rows(4) + (make_rows(4, None) if verifies else [])
    first, second = (batch_losses(model, collate(rows, pad)) for pad in (0, 77))
    for a, b in zip(first, second, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-6)


def test_batched_losses_equal_a_loop_over_rows(byte_tokenizer):
    model = make_verifier(byte_tokenizer).eval()
    marked, plain = make_rows(5, None), make_rows(5, seed=1)
    verifier, language = batch_losses(model, collate(marked + plain, PAD))
    squares, nats = [], []
    for row in marked + plain:
        scores, logits = model(torch.tensor([row.tokens]))
        for t in range(row.prompt_length, len(row.tokens)):
            if math.isnan(row.label):
                nats.append(-logits[0, t - 1].log_softmax(-1)[row.tokens[t]].item())
            else:
                squares.append((scores[0, t].item() - row.label) ** 2)
    assert verifier.item() == pytest.approx(np.mean(squares), rel=1e-4)
    assert language.item() == pytest.approx(np.mean(nats), rel=1e-4)


def test_losses_equal_transformers_own(byte_tokenizer):
    model = make_model(byte_tokenizer).eval()
    batch = collate([Row([5, 6, 7, 8, 9], 3)], PAD, Targets(True))
    own = model(batch.input_ids, labels=batch.input_ids).loss
    assert batch_losses(model, batch)[1].item() == pytest.approx(own.item(), rel=1e-5)


def test_the_hook_of_the_output_embedding_is_removed(byte_tokenizer):
    model = make_model(byte_tokenizer).eval()
    batch_losses(model, collate(make_rows(2), PAD))
    assert model(torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, len(byte_tokenizer))


# ---------------------------------------------------------------------------- batching


def test_every_row_once_and_batches_about_equal():
    lengths = np.random.default_rng(0).integers(20, 300, 500)
    batches = plan_epoch(lengths, 4000, [0, 1])
    assert sorted(np.concatenate(batches)) == list(range(500))
    sizes = [lengths[batch].sum() for batch in batches]
    assert len(batches) == math.ceil(lengths.sum() / 4000)
    assert max(sizes) < 4000 + 2 * 300 and min(sizes) > 4000 - 3 * 300


def test_rows_longer_than_a_batch_are_batches_of_their_own():
    batches = plan_epoch(np.array([100, 100, 100]), 30, [0, 1])
    assert sorted(len(batch) for batch in batches) == [1, 1, 1]


def test_plan_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(20, 300, 100)
    first, again, other = (plan_epoch(lengths, 900, [s, 1]) for s in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    members = {tuple(sorted(batch)) for batch in first}
    assert members != {tuple(sorted(batch)) for batch in other}
    plan = plan_training([Row([1] * n, 1) for n in lengths], (), settings())
    epochs = [{tuple(sorted(b)) for e, b in plan if e == epoch} for epoch in (1, 2)]
    assert epochs[0] != epochs[1]


def test_pieces_are_of_about_equal_work_and_keep_every_row():
    lengths = np.random.default_rng(0).integers(20, 300, 200)
    rows = [Row(range(n), 1) for n in lengths]
    pieces = cut_pieces(rows, 1600)
    assert sorted(np.concatenate([p.rows for p in pieces])) == list(range(200))
    sizes = [lengths[piece.rows].sum() for piece in pieces]
    assert len(pieces) == -(-sum(sizes) // 1600) and max(sizes) <= 1600 + 300
    assert np.std(sizes) < 0.1 * np.mean(sizes)
    assert all(p.prefixes == () for p in pieces)
    spans = [np.ptp(lengths[piece.rows]) for piece in pieces]
    assert max(spans) <= 60  # neighbours in length: little is padded in attention


def test_language_rows_are_cycled_to_an_equal_mix():
    lengths = np.arange(10, 33)
    partners = pair_rows(lengths, np.array([5, 50, 20]), [0, 1])
    assert len(partners) == 23
    assert set(np.bincount(partners)) == {7, 8}
    assert list(partners[:7]) == [0] * 7  # the shortest with the shortest
    plan = plan_training(make_rows(23, None), make_rows(3), settings())
    for _, batch in plan:
        assert (batch < 23).sum() == (batch >= 23).sum()


def test_equal_rows_are_merged():
    first, other = Row([5, 6], 1, 1.0), Row([5, 6], 1, 0.0)
    plain = [Row([5, 6], 1, float("nan")) for _ in range(2)]
    rows, counts = merge_equal([first, other, *plain, first, first])
    assert counts == [3, 1, 2]
    assert rows[:2] == [first, other] and rows[2] is plain[0]


@pytest.mark.parametrize("group_size, sizes", [(1, [1] * 12), (4, [4, 3, 3, 2])])
def test_groups_hold_completions_of_one_problem(group_size, sizes):
    rows = make_completions(1, 10) + make_completions(1, 2, seed=1)
    order, found = group_rows(rows, group_size, [0])
    assert sorted(order) == list(range(12))
    assert sorted(found, reverse=True) == sizes
    for group in np.split(order, np.cumsum(found)[:-1]):
        assert len({tuple(rows[i].prefix) for i in group}) == 1
    assert not np.array_equal(order, group_rows(rows, group_size, [1])[0])


def test_a_plan_of_groups_has_every_row_once_and_an_equal_mix():
    rows, plain = make_completions(20, 10), make_rows(12)
    plans = {g: plan_training(rows, plain, joint_settings(g)) for g in (1, 4)}
    for plan in plans.values():
        for epoch in (1, 2):
            batches = [batch for e, batch in plan if e == epoch]
            seen = np.concatenate(batches)
            assert sorted(seen[seen < 200]) == list(range(200))
            for batch in batches:
                assert (batch < 200).sum() == (batch >= 200).sum()
            used = np.bincount(seen[seen >= 200] - 200)
            assert used.max() - used.min() <= 1  # 200 beside 12
    for _, batch in plans[4]:
        problems = np.bincount(batch[batch < 200] // 10)
        assert problems[problems > 0].min() >= 2  # 10 completions: groups of 4, 3, 3
    lengths = {g: len(plan) for g, plan in plans.items()}
    assert lengths[4] == pytest.approx(lengths[1], abs=2)


def test_language_rows_of_a_group_are_not_copies_of_one():
    rows = make_completions(20, 8)
    plain = [Row([1, 2, n], 1) for n in range(40)]  # of one length: 4 copies of each
    for _, batch in plan_training(rows, plain, joint_settings(4)):
        assert np.bincount(batch[batch >= 160]).max() < 4


def test_a_shared_language_row_counts_for_uneven_groups():
    rows, plain = make_completions(6, 10), make_rows(5)  # groups of 3, 3, 4 and so on
    plan = plan_training(rows, plain, joint_settings(4, shared_language=True))
    for _, batch in plan:
        assert (batch < 60).sum() == (batch >= 60).sum()
    seen = np.concatenate([batch for epoch, batch in plan if epoch == 1])
    counts = np.bincount(seen[seen >= 60] - 60)
    assert len(counts) == 5  # three or four groups each, of 3 or 4
    assert counts.min() >= 9 and counts.max() <= 16


def test_a_group_may_share_a_language_row_in_an_equal_mix():
    rows, plain = make_completions(20, 8), make_rows(5)
    plan = plan_training(rows, plain, joint_settings(4, shared_language=True))
    seen = np.concatenate([batch for epoch, batch in plan if epoch == 1])
    assert sorted(seen[seen < 160]) == list(range(160))
    assert set(np.bincount(seen[seen >= 160] - 160)) == {32}  # 160 beside 5
    for _, batch in plan:
        assert (batch < 160).sum() == (batch >= 160).sum()
        counts = np.bincount(batch[batch >= 160] - 160)
        assert not (counts % 4).any()  # computed once, with that weight


def joint_settings(group_size: int, **changes) -> TrainSettings:
    return settings(group_size=group_size, batch_tokens=800, **changes)


@pytest.mark.parametrize("max_tokens", [1, 60, 200, 10_000])
def test_pieces_share_prefixes_within_their_bound(max_tokens):
    rows = make_completions(6, 9)
    pieces = cut_pieces(rows, max_tokens)
    assert sorted(np.concatenate([p.rows for p in pieces])) == list(range(len(rows)))
    rests = {i: len(row.tokens) - len(row.prefix) for i, row in enumerate(rows)}
    for piece in pieces:
        some = [rows[i] for i in piece.rows]
        assert [piece.prefixes[p] for p in piece.prefix_of] == [r.prefix for r in some]
        assert len(set(piece.prefixes)) == len(piece.prefixes)
        own = sum(rests[i] for i in piece.rows)
        assert own <= max_tokens + max(rests.values()) + max(map(len, piece.prefixes))
    if max_tokens == 10_000:
        assert len(pieces) == 1 and len(pieces[0].prefixes) == 6


def test_only_rows_with_a_common_prefix_share_it():
    alone, together = make_rows(5), make_completions(2, 5)
    whole, shared = cut_pieces(alone + together, 10_000)
    assert sorted(whole.rows) == [0, 1, 2, 3, 4] and whole.prefixes == ()
    assert sorted(shared.rows) == list(range(5, 15)) and len(shared.prefixes) == 2
    (piece,) = cut_pieces(together, 10_000, share=False)
    assert piece.prefixes == ()
    (piece,) = cut_pieces([Row([1, 2, 3], 1), Row([1, 2], 1)], 100)
    assert piece.prefixes == ()  # prompts of one token leave nothing to go on from


def test_rests_begin_where_the_first_solution_token_is_predicted():
    rows = [Row([5, 6, 7, 8, 9], 3, 1.0), Row([5, 6, 7], 3)]
    rows += [Row([5, 6, 7, 8], 3)]
    (piece,) = cut_pieces(rows, 100)
    rows = [rows[i] for i in piece.rows]
    batch = line_up(rows, PAD, weights=[2, 3, 1], piece=piece)
    ids = [5, 6, 7, 7, 8, 7, 8, 9]
    assert batch.input_ids[0, :9].tolist() == [*ids, PAD]
    assert batch.position_ids[0, :9].tolist() == [0, 1, 2, 2, 3, 2, 3, 4, 0]
    i = IGNORE
    assert batch.language_targets[0, :9].tolist() == [i, i, i, 8, i, i, i, i, i]
    expected = [NAN, NAN, NAN, NAN, NAN, NAN, 1, 1, NAN]
    np.testing.assert_array_equal(batch.verifier_targets[0, :9], expected)
    assert batch.weights[0, :9].tolist() == [0, 0, 2, 3, 3, 1, 1, 1, 0]
    assert batch.ends.tolist() == [2, 4, 7]


def test_a_line_has_one_of_few_lengths():
    lengths = {
        line_up(make_rows(n, seed=n), PAD).input_ids.shape[1] for n in range(1, 60)
    }
    assert all(n % 64 == 0 for n in lengths) and len(lengths) < 12


# ------------------------------------------------------------------- shared questions


def any_model(kind: str, tokenizer, **changes) -> PreTrainedModel:
    """A tiny model of an architecture, with grouped queries where it has them."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        **({} if kind.startswith("gpt") else dict(num_key_value_heads=2, head_dim=8)),
        **(dict(max_position_embeddings=64) | changes),
    )
    set_dropout(config, 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)


def any_verifier(kind: str, tokenizer) -> Verifier:
    """A tiny verifier: a mini-GPT with either attention, or another architecture."""
    if kind in ("eager", "sdpa"):
        model = make_model(tokenizer)
        model.set_attn_implementation(kind)
    else:
        model = any_model(kind, tokenizer, sliding_window=None)
    return Verifier(model, find_reserved_token(tokenizer))


def make_run(model, rows, chosen: TrainSettings) -> training.Run:
    optimizers = training.make_optimizers(model, chosen)
    return training.Run(rows, [], chosen, PAD, Accelerator(), model, optimizers)


def gradients(model) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return found


def loop_losses(model, rows, chosen: TrainSettings) -> tuple[torch.Tensor, ...]:
    """Both losses by a loop over whole rows, equal ones each time anew."""
    errors, nats = [], []
    for row in rows:
        scores, logits = model(torch.tensor([row.tokens]))
        first = row.prompt_length
        if math.isnan(row.label):
            targets = torch.tensor(row.tokens[first:])
            part = F.cross_entropy(logits[0, first - 1 : -1], targets, reduction="none")
            nats.append(part)
            continue
        scores = scores[0, first:] if chosen.level == "token" else scores[0, -1:]
        label = torch.full_like(scores, row.label)
        bce = F.binary_cross_entropy_with_logits
        compare = F.mse_loss if chosen.loss == "mse" else bce
        errors.append(compare(scores, label, reduction="none"))
    return torch.cat(errors).mean(), torch.cat(nats).mean()


@pytest.mark.parametrize("kind", ["eager", "sdpa", "bloom", *attention.TYPES])
@pytest.mark.parametrize("level, loss", [("token", "mse"), ("solution", "bce")])
@pytest.mark.parametrize("piece", [10_000, 100])
def test_gradients_equal_the_plain_loops(
    byte_tokenizer, monkeypatch, kind, level, loss, piece
):
    monkeypatch.setattr(training.losses, "CPU_TOKENS", piece)
    model = any_verifier(kind, byte_tokenizer).train()
    assert attention.can_flatten(model.language_model) == (kind != "bloom")
    chosen = settings(level=level, loss=loss, language_weight=0.5)
    plain = make_rows(3, seed=4)
    rows = make_completions(3, 6, equal=3) + plain + [plain[0]] * 5
    rows += [Row(rows[0].tokens, rows[0].prompt_length)]  # a problem's own solution
    rows += [Row([5, 6, 7, 8], 1, 1.0)]  # no prefix at all
    verifier, language = loop_losses(model, rows, chosen)
    (verifier + 0.5 * language).backward()
    expected = gradients(model)
    means = training.add_gradients(make_run(model, rows, chosen), rows)
    assert means["verifier_loss"] == pytest.approx(verifier.item(), rel=1e-5)
    assert means["language_loss"] == pytest.approx(language.item(), rel=1e-5)
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-6)


def test_gradients_in_bfloat16_add_up_in_float32(byte_tokenizer, monkeypatch):
    """Each piece's are a bfloat16 model's; of its weights a step changes float32's."""
    monkeypatch.setattr(training.losses, "CPU_TOKENS", 60)
    model, chosen = make_verifier(byte_tokenizer), settings(precision="bf16")
    rows = make_completions(3, 6) + make_rows(3, seed=4)
    run = make_run(model, rows, chosen)
    training.add_gradients(run, rows)
    in_copy = gradients(model)
    kinds = {name: p.dtype for name, p in run.computing.named_parameters()}
    low = {name for name, kind in kinds.items() if kind == torch.bfloat16}
    assert low == {name for name in kinds if name.startswith("language_model.")}
    assert all(p.grad is None for p in run.computing.parameters())
    slow = training.losses.in_precision(model, "bf16")
    pieces = training._make_batches(run, rows, [1] * len(rows))
    counts = training.losses.count_targets(pieces)
    expected = torch.zeros_like(in_copy)
    for piece in pieces:
        with attention.flat(slow.language_model):
            parts = training.losses.batch_losses(slow, piece, "mse", counts)
        sum(parts).backward()
        some = [p.grad if p.grad is not None else 0 * p for p in slow.parameters()]
        expected += torch.cat([gradient.float().flatten() for gradient in some])
        slow.zero_grad()
    assert len(pieces) > 1 and in_copy.dtype == torch.float32
    torch.testing.assert_close(in_copy, expected)
    training.add_gradients(make_run(model, rows, settings()), rows)
    plain = gradients(model)
    assert (in_copy - plain).norm() < 0.05 * plain.norm()


@pytest.mark.parametrize("kind", attention.TYPES)
def test_a_copy_in_bfloat16_keeps_its_buffers(byte_tokenizer, kind):
    """Rotations' frequencies above all, which say how far apart tokens are."""
    verifier = any_verifier(kind, byte_tokenizer)
    low = training.losses.in_precision(verifier, "bf16")
    weights = dict(low.language_model.named_parameters())
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    exact = dict(verifier.named_buffers())
    assert all(torch.equal(b, exact[name]) for name, b in low.named_buffers())
    assert training.losses.in_precision(low, "bf16") is low
    assert training.losses.in_precision(verifier, "fp32") is verifier


def test_frozen_parameters_stay_also_in_bfloat16(byte_tokenizer):
    model = make_model(byte_tokenizer)
    frozen = model.transformer.wte.weight.requires_grad_(False)
    before, others = frozen.clone(), model.transformer.wpe.weight.clone()
    fit(model, make_rows(10), settings(precision="bf16"))
    assert torch.equal(before, frozen)
    assert not torch.equal(others, model.transformer.wpe.weight)


def test_dropout_works_in_bfloat16(byte_tokenizer):
    """In whatever mode the model, or its copy, was before."""
    plain, dropped = (
        trained_weights(byte_tokenizer, False, precision="bf16", dropout=rate)
        for rate in (0.0, 0.5)
    )
    assert not torch.equal(plain, dropped)
    model = make_model(byte_tokenizer, dropout=0.5).eval()
    chosen = settings(precision="bf16", dropout=0.5)
    run = training.new_run(model, make_rows(10), chosen, (), PAD)
    run.computing.eval()
    training.take_step(run)
    assert run.computing.training


def test_a_checkpoint_of_a_setting_by_default_is_the_same(byte_tokenizer):
    """One saved before a setting was added goes on after it."""
    run = make_run(make_model(byte_tokenizer), make_rows(3), settings())
    said = run.fingerprint.rsplit(" ", 1)[0]
    assert json.loads(said) == dict(epochs=2, learning_rate=3e-3, batch_tokens=60)


def test_a_step_too_small_for_bfloat16_is_taken(byte_tokenizer):
    model, rows = make_model(byte_tokenizer), make_rows(10)
    ones = weights(model) == 1  # of the normalizations
    fit(model, rows, settings(epochs=1, learning_rate=1e-6, precision="bf16"))
    learnt = weights(model)[ones]
    assert (learnt != 1).any() and (learnt.bfloat16() == 1).all()


def test_pieces_hold_as_many_tokens_as_is_said(byte_tokenizer, monkeypatch):
    """And the gradients do not depend on it."""
    monkeypatch.setattr(training.losses, "CPU_TOKENS", 60)
    model = make_verifier(byte_tokenizer)
    rows = make_completions(3, 6) + make_rows(3, seed=4)
    pieces, by_most = (
        [list(piece.rows) for piece in cut]
        for cut in (training.losses.make_pieces(model, rows), cut_pieces(rows, 60))
    )
    assert pieces == by_most and len(pieces) > 1
    training.add_gradients(make_run(model, rows, settings()), rows)
    in_pieces = gradients(model)
    monkeypatch.setattr(training.losses, "CPU_TOKENS", 10_000)
    training.add_gradients(make_run(model, rows, settings()), rows)
    torch.testing.assert_close(gradients(model), in_pieces, rtol=1e-4, atol=1e-6)


def test_pieces_of_a_large_model_are_smaller(byte_tokenizer, monkeypatch):
    """What is kept for the backward pass is bounded; scoring keeps nothing."""
    model = make_verifier(byte_tokenizer)
    config = model.language_model.config
    rows = make_completions(3, 6) + make_rows(3, seed=4)

    def pieces(*most):
        return [list(p.rows) for p in training.losses.make_pieces(model, rows, *most)]

    assert pieces() == pieces(10_000)
    kept = 60 * 4 * config.num_hidden_layers * config.hidden_size
    monkeypatch.setattr(training.losses, "KEPT", kept)
    assert pieces() == [list(piece.rows) for piece in cut_pieces(rows, 60)]
    assert len(pieces(10_000)) < len(pieces())


def test_estimates_know_the_pieces():
    """They stand there too, because planning imports no torch."""
    loss, known = training.losses, estimates
    there = known.PIECE_TOKENS, known.PIECE_LOGITS, known.PIECE_KEPT
    assert there == (loss.CPU_TOKENS, loss.LOGITS, loss.KEPT)


def count_tokens(model, rows) -> int:
    """How many token embeddings one batch's losses look up."""
    seen = []
    embedding = model.language_model.get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda _, x: seen.append(x[0].numel()))
    training.add_gradients(make_run(model, rows, settings()), rows)
    handle.remove()
    return sum(seen)


def test_questions_and_equal_rows_are_computed_once(byte_tokenizer):
    model = make_verifier(byte_tokenizer)
    rows = make_completions(1, 12)
    prefix = len(rows[0].prefix)
    rests = sum(len(row.tokens) - prefix for row in rows)
    assert count_tokens(model, rows) <= prefix + rests + 64
    assert count_tokens(model, rows * 5) == count_tokens(model, rows)


def test_positions_of_padding_stay_within_the_model(byte_tokenizer):
    """A short rest behind a long question, next to a long rest behind a short one."""
    model = any_verifier("eager", byte_tokenizer)
    rows = make_completions(1, 4, prompt=390) + [Row([5, *range(5, 85)], 3, 1.0)]
    training.add_gradients(make_run(model, rows, settings()), rows)


@pytest.mark.parametrize("kind", ["mistral", "bloom"])
def test_other_models_are_computed_whole(byte_tokenizer, kind):
    """A sliding window sees a part of the text, others know no line of rows."""
    model = any_model(kind, byte_tokenizer, sliding_window=8)
    assert not attention.can_flatten(model)
    verifier = Verifier(any_model(kind, byte_tokenizer, sliding_window=8), 3)
    rows = make_completions(1, 12)
    assert count_tokens(verifier, rows) >= sum(len(row.tokens) for row in rows)


def test_a_line_is_not_given_to_a_model_that_does_not_know(byte_tokenizer):
    model = make_model(byte_tokenizer)
    with pytest.raises(AssertionError, match="attention.flat"):
        batch_losses(model, line_up(make_rows(2), PAD))
    before = model.config._attn_implementation
    with attention.flat(model):
        batch_losses(model, line_up(make_rows(2), PAD))
    assert model.config._attn_implementation == before


def test_grouped_training_resumes(byte_tokenizer, tmp_path, monkeypatch):
    def run(**options):
        model = make_verifier(byte_tokenizer, dropout=0.2)
        chosen = settings(dropout=0.2, group_size=4, batch_tokens=300)
        rows, plain = make_completions(6, 8, equal=2), make_rows(7)
        history = fit(model, rows, chosen, language_rows=plain, **options)
        return weights(model), history.drop(columns="seconds")

    whole, history = run()
    assert history.tokens.sum() > sum(len(r.tokens) for r in make_completions(6, 8))
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        interrupt_after(3, patch)
        run(checkpoint=tmp_path)
    resumed, again = run(checkpoint=tmp_path)
    assert torch.equal(whole, resumed)
    pd.testing.assert_frame_equal(history, again)


# ---------------------------------------------------------------------------- the loop


def test_pieces_add_up_to_the_undivided_batch(byte_tokenizer, monkeypatch):
    marked, plain = make_rows(12, None), make_rows(6)
    trained, tables = [], []
    for piece in (10_000, 40):
        monkeypatch.setattr(training.losses, "CPU_TOKENS", piece)
        model = make_verifier(byte_tokenizer)
        tables.append(
            fit(model, marked, settings(batch_tokens=10_000), language_rows=plain)
        )
        trained.append(weights(model))
    columns = ["loss", "verifier_loss", "language_loss", "grad_norm"]
    pd.testing.assert_frame_equal(*(table[columns] for table in tables), rtol=1e-4)
    assert torch.allclose(*trained, atol=2e-5)


def test_joint_loss_adds_both_parts(byte_tokenizer):
    marked, plain = make_rows(6, None), make_rows(6, seed=1)
    chosen = settings(epochs=1, batch_tokens=10_000, language_weight=0.5)
    model = make_verifier(byte_tokenizer)
    expected = [x.item() for x in batch_losses(model, collate(marked + plain, PAD))]
    history = fit(model, marked, chosen, language_rows=plain)
    first = history.iloc[0]
    assert first.verifier_loss == pytest.approx(expected[0], rel=1e-5)
    assert first.language_loss == pytest.approx(expected[1], rel=1e-5)
    assert first.loss == pytest.approx(expected[0] + 0.5 * expected[1], rel=1e-5)
    assert first.tokens == sum(len(row.tokens) for row in marked + plain)


def test_verification_only_leaves_language_rows_out(byte_tokenizer):
    marked, chosen = make_rows(6, None), settings(language_weight=0.0)
    trained = []
    for plain in ((), make_rows(6, seed=1)):
        model = make_verifier(byte_tokenizer)
        history = fit(model, marked, chosen, language_rows=plain)
        assert history.language_loss.isna().all()
        trained.append(weights(model))
    assert torch.equal(*trained)


def test_rate_decays_linearly_and_losses_fall(byte_tokenizer):
    model = make_model(byte_tokenizer)
    history = fit(model, make_rows(30), settings(epochs=4, learning_rate=1e-2))
    steps = len(history)
    expected = 1e-2 * (1 - np.arange(steps) / steps)
    np.testing.assert_allclose(history.learning_rate, expected)
    assert history.step.tolist() == list(range(1, steps + 1))
    assert history.epoch.iloc[-1] == 4 and history.seconds.is_monotonic_increasing
    epochs = history.groupby("epoch").loss.mean()
    assert epochs.iloc[-1] < epochs.iloc[0] - 0.3
    assert not model.training


def test_muon_takes_the_matrices_within_the_layers(byte_tokenizer):
    model = make_verifier(byte_tokenizer)
    names = {id(p): name for name, p in model.named_parameters()}
    muon, adam = training.make_optimizers(model, settings(optimizer="muon"))
    taken, rest = (
        {names[id(p)] for group in o.param_groups for p in group["params"]}
        for o in (muon, adam)
    )
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    body = "language_model.transformer"
    assert taken == {f"{body}.h.{i}.{p}.weight" for i in (0, 1) for p in parts}
    assert rest == set(names.values()) - taken
    assert {f"{body}.wte.weight", f"{body}.wpe.weight", "gain"} <= rest


def test_muons_rate_is_twice_the_settings(byte_tokenizer):
    model = make_model(byte_tokenizer)
    run = training.new_run(
        model, make_rows(10), settings(optimizer="muon", warmup=0.5), (), PAD
    )
    entry = training.take_step(run)
    rates = [{group["lr"] for group in o.param_groups} for o in run.optimizers]
    assert rates == [{2 * entry["learning_rate"]}, {entry["learning_rate"]}]


def test_warmup_rises_first(byte_tokenizer):
    chosen = settings(epochs=4, warmup=0.5)
    rates = fit(make_model(byte_tokenizer), make_rows(30), chosen).learning_rate
    top = rates.argmax()
    assert rates.iloc[: top + 1].is_monotonic_increasing and top > 2
    assert rates.iloc[top:].is_monotonic_decreasing
    assert rates.max() <= chosen.learning_rate


# Each field's other value must lead to other weights.
LANGUAGE_CHANGES = dict(
    epochs=3,
    learning_rate=1e-3,
    batch_tokens=30,
    warmup=0.5,
    adam_beta1=0.5,
    adam_beta2=0.5,
    weight_decay=0.5,
    dropout=0.2,
    max_grad_norm=1e-3,
    precision="bf16",
    seed=1,
    loss_on_question=False,
    optimizer="muon",
)
VERIFIER_CHANGES = dict(level="solution", loss="bce", language_weight=0.1, group_size=4)
VERIFIER_CHANGES |= dict(shared_language=True)


def trained_weights(tokenizer, verifies: bool, **changes) -> torch.Tensor:
    chosen = settings(**changes)
    make = make_verifier if verifies else make_model
    model = make(tokenizer, dropout=chosen.dropout)
    rows = make_completions(3, 4) if verifies else make_rows(10)
    fit(model, rows, chosen, language_rows=make_rows(5) if verifies else ())
    return weights(model)


def test_every_setting_is_accounted_for():
    known = {*LANGUAGE_CHANGES, *VERIFIER_CHANGES}
    assert known == set(TrainSettings.model_fields)


@pytest.mark.parametrize("name", [*LANGUAGE_CHANGES, *VERIFIER_CHANGES])
def test_every_setting_changes_the_weights(byte_tokenizer, name):
    verifies = name in VERIFIER_CHANGES
    usual = dict(group_size=2) if name == "shared_language" else {}
    change = usual | {name: (LANGUAGE_CHANGES | VERIFIER_CHANGES)[name]}
    plain = trained_weights(byte_tokenizer, verifies, **usual)
    assert torch.equal(plain, trained_weights(byte_tokenizer, verifies, **usual))
    assert not torch.equal(plain, trained_weights(byte_tokenizer, verifies, **change))


@pytest.mark.parametrize("name", VERIFIER_CHANGES)
def test_a_verifiers_settings_do_nothing_to_language_models(byte_tokenizer, name):
    plain = trained_weights(byte_tokenizer, False)
    change = {name: VERIFIER_CHANGES[name]}
    assert torch.equal(plain, trained_weights(byte_tokenizer, False, **change))


@pytest.mark.parametrize("verifies", [False, True])
def test_loss_on_question_is_the_papers_unless_said(byte_tokenizer, verifies):
    """Finetuning learns the question too, a verifier's training never looks at it."""
    plain, off, on = (
        trained_weights(byte_tokenizer, verifies, loss_on_question=choice)
        for choice in (None, False, True)
    )
    assert not torch.equal(off, on)
    assert torch.equal(plain, off if verifies else on)


def test_on_share_sees_equal_parts_of_a_run(byte_tokenizer):
    model, seen = make_model(byte_tokenizer), []

    def note(number):
        assert not model.training
        seen.append((number, weights(model).clone()))

    history = fit(model, make_rows(20), settings(), shares=3, on_share=note)
    assert [number for number, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1], weights(model))
    assert not torch.equal(seen[0][1], seen[1][1])
    with pytest.raises(ValueError, match="shares of"):
        fit(model, make_rows(2), settings(), shares=len(history) + 1)


def test_verifier_overfits_eight_rows(byte_tokenizer):
    rows = make_rows(8, None)
    model = make_verifier(byte_tokenizer)
    chosen = settings(epochs=40, learning_rate=1e-2, language_weight=0.0)
    fit(model, rows, chosen)
    batch = collate(rows, PAD)
    scores = model(batch.input_ids)[0]
    wanted = ~batch.verifier_targets.isnan()
    right = (scores > 0.5) == (batch.verifier_targets > 0.5)
    assert float(right[wanted].float().mean()) > 0.95


def test_training_leaves_global_random_state_alone(byte_tokenizer):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fit(make_model(byte_tokenizer, dropout=0.2), make_rows(8), settings(dropout=0.2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_on_epoch_sees_an_evaluating_model_and_mean_losses(byte_tokenizer):
    model, seen = make_model(byte_tokenizer), {}

    def note(epoch, means):
        assert not model.training
        seen[epoch] = means["loss"]

    history = fit(model, make_rows(20), settings(), on_epoch=note)
    assert seen == pytest.approx(history.groupby("epoch").loss.mean().to_dict())


@pytest.mark.parametrize("make", [make_model, make_verifier])
def test_computing_activations_twice_changes_no_weight(
    byte_tokenizer, monkeypatch, make
):
    rows, trained, calls = make_completions(4, 3), [], []
    for variable in ("0", "1"):
        monkeypatch.setenv("GSMLIB_GRADIENT_CHECKPOINTING", variable)
        model = make(byte_tokenizer)
        body = getattr(model, "language_model", model)
        count = []
        body.transformer.h[0].ln_1.register_forward_hook(
            lambda *_, to=count: to.append(1)
        )
        plain = [row._replace(label=NAN) for row in rows]
        joint = dict(language_rows=plain) if make is make_verifier else {}
        fit(model, rows if joint else plain, settings(), **joint)
        trained.append(weights(model))
        calls.append(len(count))
    assert torch.allclose(*trained, atol=1e-5) and calls[1] > calls[0]


# ------------------------------------------------------------------------- checkpoints


class Interruption(Exception):
    """What stops a run in these tests."""


def interrupt_after(step: int, monkeypatch) -> None:
    take_step = training.take_step

    def stop(run):
        if len(run.history) == step:
            raise Interruption
        return take_step(run)

    monkeypatch.setattr(training, "take_step", stop)


def joint_run(
    tokenizer, optimizer: str = "adam", precision: str = "fp32", **options
) -> tuple[torch.Tensor, pd.DataFrame]:
    model = make_verifier(tokenizer, dropout=0.2)
    how = dict(optimizer=optimizer, precision=precision)
    chosen = settings(dropout=0.2, epochs=3, **how)
    rows, plain = make_rows(20, None), make_rows(7)
    history = fit(model, rows, chosen, language_rows=plain, **options)
    return weights(model), history.drop(columns="seconds")


@pytest.mark.parametrize("step", [1, 5, 11])
@pytest.mark.parametrize("save_every_seconds", [0, 60])
@pytest.mark.parametrize("how", [("adam",), ("muon",), ("adam", "bf16")])
def test_resumed_equals_uninterrupted(
    byte_tokenizer, tmp_path, monkeypatch, step, save_every_seconds, how
):
    whole, history = joint_run(byte_tokenizer, *how)
    options = dict(checkpoint=tmp_path, save_every_seconds=save_every_seconds)
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        interrupt_after(step, patch)
        joint_run(byte_tokenizer, *how, **options)
    resumed, resumed_history = joint_run(byte_tokenizer, *how, **options)
    assert torch.equal(whole, resumed)
    pd.testing.assert_frame_equal(history, resumed_history)


@pytest.mark.parametrize(("took", "between"), [(0.5, 3), (2.0, 5)])
def test_saving_a_large_model_takes_a_small_share(
    byte_tokenizer, tmp_path, monkeypatch, took, between
):
    """A step takes a second; saves are wanted after more than two, or twice that."""
    now, saves, usual = [0.0], [], training.take_step
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training.Run, "epoch_ends", False)

    def step(run):
        now[0] += 1
        return usual(run)

    def save(run, folder):
        now[0] += took
        saves.append(len(run.history))

    monkeypatch.setattr(training, "take_step", step)
    monkeypatch.setattr(training, "save_checkpoint", save)
    joint_run(byte_tokenizer, checkpoint=tmp_path, save_every_seconds=2)
    assert saves[0] == 3 and len(saves) > 1 and set(np.diff(saves)) == {between}


def test_an_interrupted_callback_is_called_again(byte_tokenizer, tmp_path):
    whole, history = joint_run(byte_tokenizer)
    calls = []

    def fail_once(epoch, means):
        calls.append(epoch)
        if calls == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        joint_run(byte_tokenizer, checkpoint=tmp_path, on_epoch=fail_once)
    resumed, again = joint_run(byte_tokenizer, checkpoint=tmp_path, on_epoch=fail_once)
    assert calls == [1, 2, 2, 3]
    assert torch.equal(whole, resumed)
    pd.testing.assert_frame_equal(history, again)


def test_a_finished_run_is_not_trained_again(byte_tokenizer, tmp_path, monkeypatch):
    whole, history = joint_run(byte_tokenizer, checkpoint=tmp_path)
    interrupt_after(0, monkeypatch)
    again, same = joint_run(byte_tokenizer, checkpoint=tmp_path)
    assert torch.equal(whole, again)
    pd.testing.assert_frame_equal(history, same)
    assert [path.name for path in tmp_path.iterdir()] == [training.CHECKPOINT]


def test_a_checkpoint_of_another_run_is_refused(byte_tokenizer, tmp_path):
    rows = make_rows(8)
    fit(make_model(byte_tokenizer), rows, settings(), checkpoint=tmp_path)
    for other, chosen in ((rows, settings(seed=1)), (rows[1:], settings())):
        with pytest.raises(ValueError, match="other settings or rows"):
            fit(make_model(byte_tokenizer), other, chosen, checkpoint=tmp_path)


# --------------------------------------------------------------------- wrong input


def test_wrong_rows_are_refused(byte_tokenizer):
    model, verifier = make_model(byte_tokenizer), make_verifier(byte_tokenizer)
    plain, marked = make_rows(3), make_rows(3, None)
    with pytest.raises(ValueError, match="no rows"):
        fit(model, [], settings())
    with pytest.raises(ValueError, match="no label"):
        fit(model, plain + marked, settings())
    with pytest.raises(ValueError, match="all need label"):
        fit(verifier, marked + plain, settings(), language_rows=plain)
    with pytest.raises(ValueError, match="needs language_rows"):
        fit(verifier, marked, settings())
    with pytest.raises(ValueError, match="language_rows have no label"):
        fit(verifier, marked, settings(), language_rows=marked)
    with pytest.raises(ValueError, match="positions for 400"):
        fit(model, [Row([1] * 401, 1)], settings())


def test_dropout_must_be_the_models(byte_tokenizer):
    with pytest.raises(ValueError, match="dropout"):
        fit(make_model(byte_tokenizer), make_rows(3), settings(dropout=0.2))


def test_dropout_that_is_not_the_architectures_trains_too(byte_tokenizer):
    losses = []
    for rate in (0.0, 0.2):
        verifier = any_verifier("llama", byte_tokenizer)
        set_dropout(verifier.language_model.config, rate)
        add_residual_dropout(verifier.language_model)
        rows, chosen = make_rows(6, None), settings(dropout=rate, language_weight=0.0)
        losses.append(fit(verifier, rows, chosen)["loss"].iloc[0])
        with pytest.raises(ValueError, match="dropout 0.5"):
            fit(verifier, rows, settings(dropout=0.5, language_weight=0.0))
    assert losses[0] != losses[1]


def test_a_loss_that_is_no_number_stops_the_run(byte_tokenizer):
    model = make_model(byte_tokenizer)
    with torch.no_grad():
        model.transformer.wte.weight.fill_(NAN)
    with pytest.raises(FloatingPointError, match="step 1"):
        fit(model, make_rows(3), settings())


def test_cut_rows_are_reported(byte_tokenizer, caplog):
    rows = [encode(byte_tokenizer, "1+1?", "#### 2", size) for size in (8, 100)]
    history = fit(make_model(byte_tokenizer), rows, settings())
    assert history.attrs == {"rows": 2, "rows_cut": 1}
    assert "1 of 2 rows were cut" in caplog.text


# --------------------------------------------------------------------------- test loss


@pytest.mark.parametrize("most", [40, 10_000])
def test_test_losses_are_the_nats_of_each_solution(tiny_gpt2, monkeypatch, most):
    """Whatever stands beside it, and also where a question is computed once."""
    monkeypatch.setattr(training.losses, "CPU_TOKENS", most)
    rows = make_rows(7) + make_completions(3, 4)
    nats, tokens = evaluate_losses(tiny_gpt2, rows)
    for row, found, count in zip(rows, nats, tokens, strict=True):
        logits = tiny_gpt2.model(torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        places = range(row.prompt_length, len(row.tokens))
        expected = -sum(logits[t - 1, row.tokens[t]].item() for t in places)
        assert count == len(places)
        assert found == pytest.approx(expected, rel=1e-5)


def test_test_losses_ignore_dropout_and_keep_the_mode(byte_tokenizer):
    lm = new_mini_gpt("tiny", byte_tokenizer, dropout=0.5)
    lm.model.train()
    first, second = (evaluate_losses(lm, make_rows(5)) for _ in range(2))
    assert first == second and lm.model.training
