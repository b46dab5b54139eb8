"""Training: batches, masks, losses, the loop, checkpoints, against slow plain paths."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from gsmlib import training
from gsmlib.config import TrainSettings
from gsmlib.models import Verifier, find_reserved_token, new_mini_gpt
from gsmlib.training import (
    IGNORE,
    Row,
    batch_losses,
    collate,
    encode,
    evaluate_loss,
    language_loss,
    pair_rows,
    plan_epoch,
    plan_training,
    split_by_length,
    train,
    verifier_loss,
)

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
    everything = collate(rows, PAD, loss_on_question=True).language_targets.tolist()
    assert everything == [[6, 7, 8, 9, i], [6, 7, i, i, i]]


@pytest.mark.parametrize(
    "level, expected",
    [
        ("token", [[NAN, NAN, NAN, 1, 1], [NAN, 0, 0, NAN, NAN]]),
        ("solution", [[NAN, NAN, NAN, NAN, 1], [NAN, NAN, 0, NAN, NAN]]),
    ],
)
def test_verifier_targets_by_hand(level, expected):
    rows = [Row([5, 6, 7, 8, 9], 3, 1.0), Row([5, 6, 7], 1, 0.0)]
    batch = collate(rows, PAD, level=level, loss_on_question=True)
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
    batch = collate([Row([5, 6, 7, 8, 9], 3)], PAD, loss_on_question=True)
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


def test_pieces_have_little_padding_and_keep_every_row():
    lengths = np.random.default_rng(0).integers(20, 300, 200)
    groups = split_by_length(lengths, 1600)
    assert sorted(np.concatenate(groups)) == list(range(200))
    for group in groups:
        padded = lengths[group].max() * len(group)
        assert padded <= 1600 and padded - lengths[group].sum() <= 100


def test_language_rows_are_cycled_to_an_equal_mix():
    lengths = np.arange(10, 33)
    partners = pair_rows(lengths, np.array([5, 50, 20]), [0, 1])
    assert len(partners) == 23
    assert set(np.bincount(partners)) == {7, 8}
    assert list(partners[:7]) == [0] * 7  # the shortest with the shortest
    plan = plan_training(make_rows(23, None), make_rows(3), settings())
    for _, batch in plan:
        assert (batch < 23).sum() == (batch >= 23).sum()


# ---------------------------------------------------------------------------- the loop


def test_pieces_add_up_to_the_undivided_batch(byte_tokenizer, monkeypatch):
    marked, plain = make_rows(12, None), make_rows(6)
    trained, tables = [], []
    for piece in (10_000, 40):
        monkeypatch.setattr(training, "max_piece", lambda _, piece=piece: piece)
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
)
VERIFIER_CHANGES = dict(level="solution", loss="bce", language_weight=0.1)


def trained_weights(tokenizer, verifies: bool, **changes) -> torch.Tensor:
    chosen = settings(**changes)
    make = make_verifier if verifies else make_model
    model = make(tokenizer, dropout=chosen.dropout)
    rows = make_rows(10, None if verifies else NAN)
    fit(model, rows, chosen, language_rows=make_rows(5) if verifies else ())
    return weights(model)


def test_every_setting_is_accounted_for():
    known = {*LANGUAGE_CHANGES, *VERIFIER_CHANGES}
    assert known == set(TrainSettings.model_fields)


@pytest.mark.parametrize("name", [*LANGUAGE_CHANGES, *VERIFIER_CHANGES])
def test_every_setting_changes_the_weights(byte_tokenizer, name):
    verifies = name in VERIFIER_CHANGES
    change = {name: (LANGUAGE_CHANGES | VERIFIER_CHANGES)[name]}
    plain = trained_weights(byte_tokenizer, verifies)
    assert torch.equal(plain, trained_weights(byte_tokenizer, verifies))
    assert not torch.equal(plain, trained_weights(byte_tokenizer, verifies, **change))


@pytest.mark.parametrize("name", [*VERIFIER_CHANGES, "loss_on_question"])
def test_settings_without_effect_by_design(byte_tokenizer, name):
    """A verifier's own settings on language models; the question on verifiers."""
    change = {name: (LANGUAGE_CHANGES | VERIFIER_CHANGES)[name]}
    verifies = name == "loss_on_question"
    plain = trained_weights(byte_tokenizer, verifies)
    assert torch.equal(plain, trained_weights(byte_tokenizer, verifies, **change))


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


def joint_run(tokenizer, **options) -> tuple[torch.Tensor, pd.DataFrame]:
    model = make_verifier(tokenizer, dropout=0.2)
    chosen = settings(dropout=0.2, epochs=3)
    rows, plain = make_rows(20, None), make_rows(7)
    history = fit(model, rows, chosen, language_rows=plain, **options)
    return weights(model), history.drop(columns="seconds")


@pytest.mark.parametrize("step", [1, 5, 11])
@pytest.mark.parametrize("save_every_seconds", [0, 60])
def test_resumed_equals_uninterrupted(
    byte_tokenizer, tmp_path, monkeypatch, step, save_every_seconds
):
    whole, history = joint_run(byte_tokenizer)
    options = dict(checkpoint=tmp_path, save_every_seconds=save_every_seconds)
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        interrupt_after(step, patch)
        joint_run(byte_tokenizer, **options)
    resumed, resumed_history = joint_run(byte_tokenizer, **options)
    assert torch.equal(whole, resumed)
    pd.testing.assert_frame_equal(history, resumed_history)


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


def test_evaluate_loss_is_nats_per_solution_token(tiny_gpt2):
    rows = make_rows(7)
    nats, count = 0.0, 0
    for row in rows:
        logits = tiny_gpt2.model(torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        for t in range(row.prompt_length, len(row.tokens)):
            nats -= logits[t - 1, row.tokens[t]].item()
            count += 1
    for batch_tokens in (30, 4000):
        loss = evaluate_loss(tiny_gpt2, rows, batch_tokens)
        assert loss == pytest.approx(nats / count, rel=1e-5)


def test_evaluate_loss_ignores_dropout_and_keeps_the_mode(byte_tokenizer):
    lm = new_mini_gpt("tiny", byte_tokenizer, dropout=0.5)
    lm.model.train()
    first, second = (evaluate_loss(lm, make_rows(5), 100) for _ in range(2))
    assert first == second and lm.model.training
