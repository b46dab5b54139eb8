"""Decoding against a scripted model, transformers' generate and a slow oracle."""

import copy
import types

import numpy as np
import pytest
import torch
from conftest import make_tiny_gpt2, wrap_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from gsmlib.environment import cache_folder
from gsmlib.method import decoding
from gsmlib.method.decoding import (
    Rules,
    choose_batch_size,
    choose_tokens,
    decode,
    encode_after,
    encode_prompt,
    greedy,
    hash_address,
    sample_completions,
    stream_completions,
    uniform,
)
from gsmlib.method.engine import PACKS, Engine, Linear, PlainEngine, new_engine
from gsmlib.method.models import WEIGHTS, LanguageModel, load_language_model

QUESTIONS = [
    "Tom has 3 apples.",
    "How many?",
    "Ann has 4 times as many. Together?",
    "It costs $2 = two dollars.",
]


class ScriptedModel(torch.nn.Module):
    """Follows scripts[first token of the prompt], then the end token.

    Its cached "keys" are the tokens themselves, so it sees a row's whole history only
    if the rows' caches are handled right.
    """

    def __init__(self, tokenizer, prompt_length: int, scripts: dict[int, list[int]]):
        super().__init__()
        self.config = GPT2Config(n_layer=1, n_head=1, n_embd=1)
        self.size, self.end = len(tokenizer), tokenizer.eos_token_id
        self.prompt_length, self.scripts = prompt_length, scripts
        self.device, self.dtype, self.calls = torch.device("cpu"), torch.float32, 0

    def forward(
        self, input_ids, attention_mask, position_ids, past_key_values, use_cache
    ):
        self.calls += 1
        states = input_ids[:, None, :, None].float()
        history = past_key_values.update(states, states, 0)[0][:, 0, :, 0].long()
        assert history.shape == attention_mask.shape
        logits = torch.zeros(*input_ids.shape, self.size)
        for row, (tokens, mask) in enumerate(zip(history, attention_mask, strict=True)):
            seen = tokens[mask.bool()].tolist()
            place = len(seen) - self.prompt_length
            assert position_ids[row, -1] <= len(seen) - 1
            script = self.scripts[seen[0]]
            token = script[place] if place < len(script) else self.end
            logits[row, -1, token] = 1000.0
        return types.SimpleNamespace(logits=logits)


def complete(lm, questions, n, *, batch_size=0, problem_ids=None, **rules):
    """Completions at T = 0.7, with any rules."""
    rules = Rules(**({"temperature": 0.7} | rules))
    return sample_completions(
        lm, questions, n, rules, batch_size=batch_size, problem_ids=problem_ids
    )


def follow(tokenizer, *scripts: str, **settings):
    """Complete the questions "0", "1", ... by these scripts, at T = 0.7."""
    questions = [str(number) for number in range(len(scripts))]
    plan = {
        tokenizer.encode(question)[0]: tokenizer.encode(script)
        for question, script in zip(questions, scripts, strict=True)
    }
    length = len(encode_prompt(tokenizer, "0"))
    lm = LanguageModel(ScriptedModel(tokenizer, length, plan), tokenizer)
    drawn = complete(lm, questions, 1, seed=0, max_length=90, **settings)
    return [completions[0] for completions in drawn]


def with_tokens(tokenizer, *texts: str):
    """The tokenizer with these texts as single tokens."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(list(texts))
    return tokenizer


# ----------------------------------------------------------------- the calculator


def test_calculator_overwrites_the_models_value(byte_tokenizer):
    (done,) = follow(byte_tokenizer, "so <<2+3=9>>9.\n#### 5")
    assert done.text == "so <<2+3=5>>9.\n#### 5"
    forced = [t for t, f in zip(done.tokens, done.forced, strict=True) if f]
    assert byte_tokenizer.decode(forced) == "5>>"
    assert done.finished
    assert done.tokens[-1] == byte_tokenizer.eos_token_id
    assert done.logprob == pytest.approx(0, abs=1e-6)  # forced tokens do not count


def test_calculator_off_leaves_the_models_value(byte_tokenizer):
    (done,) = follow(byte_tokenizer, "<<2+3=9>>9", calculator=False)
    assert done.text == "<<2+3=9>>9"
    assert not any(done.forced)


@pytest.mark.parametrize("merged", ["3=", "+3=", "<<2+3=", "<<", "=<<", "5>>", " ="])
def test_calculator_is_triggered_across_token_boundaries(byte_tokenizer, merged):
    tokenizer = with_tokens(byte_tokenizer, merged)
    script = "<<2+3 =9>>9" if merged == " =" else "2+3=<<2+3=9>>9"
    (done,) = follow(tokenizer, script)
    assert done.text.startswith(script.split("9")[0] + "5>>")
    assert any(done.forced)


def test_a_token_that_begins_the_value_keeps_it(byte_tokenizer):
    (done,) = follow(with_tokens(byte_tokenizer, "=9"), "<<2+3=9>>9")
    assert done.text == "<<2+3=9>>9"
    assert not any(done.forced)


@pytest.mark.parametrize("text", ["<<1/0=9>>9", "<<x+1=9>>9", "2+3=9", "<<2**9=9>>"])
def test_refused_expressions_are_skipped(byte_tokenizer, text):
    (done,) = follow(byte_tokenizer, text)
    assert done.text == text
    assert not any(done.forced)


def test_calculator_at_the_length_limit(byte_tokenizer):
    """Forced tokens fill the last places and are cut there."""
    (done,) = follow(byte_tokenizer, "a" * 78 + "<<22*9=....")  # 2 + 78 + 7 of 90
    assert done.text.endswith("<<22*9=198")
    assert not done.finished
    assert sum(done.forced) == 3
    (done,) = follow(byte_tokenizer, "a" * 81 + "<<22*9=....")
    assert done.text.endswith("<<22*9=")
    assert not any(done.forced)


def test_rows_are_forced_while_others_sample(byte_tokenizer):
    scripts = [
        "<<1+1=0>> a",
        "no sums here, only text",
        "b <<100*5=000>>",
        "",
        "<<1+2=0>><<2+2=0>> <<3/2=000>>",
    ]
    done = follow(byte_tokenizer, *scripts)
    assert [d.text for d in done] == [
        "<<1+1=2>> a",
        "no sums here, only text",
        "b <<100*5=500>>",
        "",
        "<<1+2=3>><<2+2=4>> <<3/2=1.5>>",
    ]
    single = [
        c for size in (1, 2) for c in follow(byte_tokenizer, *scripts, batch_size=size)
    ]
    assert single == done * 2


def test_values_are_spelled_in_context():
    """A tokenizer that puts a space before every text does not put one here."""
    pieces = ["<unk>", "</s>", "▁", "=", "▁=", ">>", "<<", *"0123456789+.▁x"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("▁", "=")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer = wrap_tokenizer(tokenizer)
    before = tokenizer.encode("x 2+3=")
    value = encode_after(tokenizer, before, "5")
    assert decode(tokenizer, before + value) == "x 2+3=5"
    assert decode(tokenizer, before + tokenizer.encode("5")) == "x 2+3= 5"


# ------------------------------------------------------------------------- stopping


def test_stops_after_the_answer_line_if_asked(byte_tokenizer):
    text = "2 #\n#### 5\nand on\n#### 6"
    assert follow(byte_tokenizer, text)[0].text == text
    (done,) = follow(byte_tokenizer, text, stop_after_answer=True)
    assert done.text == "2 #\n#### 5\n"
    assert done.finished
    (open_line,) = follow(byte_tokenizer, "####\nx", stop_after_answer=True)
    assert open_line.text == "####\nx"


def test_length_limit_counts_the_prompt(tiny_gpt2):
    prompt = len(encode_prompt(tiny_gpt2.tokenizer, QUESTIONS[0]))
    for done in greedy(tiny_gpt2, QUESTIONS[:1], max_length=prompt + 7):
        assert len(done.tokens) == 7
        assert not done.finished
    (done,) = greedy(tiny_gpt2, QUESTIONS[:1], max_length=prompt)
    assert done == ("", [], [], 0.0, False)


# --------------------------------------------------------------- other ways to sample


def tiny_llama(tokenizer, kind=LlamaForCausalLM, config=LlamaConfig, **settings):
    settings = config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=400,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageModel(kind(settings).eval(), tokenizer)


def tiny_mistral(tokenizer):
    return tiny_llama(tokenizer, MistralForCausalLM, MistralConfig, sliding_window=24)


@pytest.fixture(params=["gpt2", "llama", "mistral"])
def tiny_lm(request, bpe_tokenizer):
    """Learned positions, rotary positions, and a sliding window."""
    if request.param == "gpt2":
        return LanguageModel(make_tiny_gpt2(bpe_tokenizer), bpe_tokenizer)
    return {"llama": tiny_llama, "mistral": tiny_mistral}[request.param](bpe_tokenizer)


def generate(lm: LanguageModel, question: str, max_length: int) -> list[int]:
    """The tokens after the prompt by transformers' own greedy search."""
    prompt = torch.tensor([encode_prompt(lm.tokenizer, question)])
    tokens = lm.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_length=max_length,
        eos_token_id=lm.tokenizer.eos_token_id,
        pad_token_id=lm.tokenizer.pad_token_id,
    )
    return tokens[0, prompt.shape[1] :].tolist()


def assert_greedy_is_generate(lm: LanguageModel, questions, max_length: int):
    done = greedy(lm, questions, max_length=max_length, calculator=False)
    for question, completion in zip(questions, done, strict=True):
        assert completion.tokens == generate(lm, question, max_length)


def test_greedy_equals_generate(tiny_lm):
    assert_greedy_is_generate(tiny_lm, QUESTIONS, 100)


@pytest.mark.parametrize("name", ["mini-0.5m", "mini-2m"])
def test_greedy_equals_generate_mini(name):
    if not (WEIGHTS / f"{name}.safetensors").is_file():
        pytest.skip(f"the weights of {name} are not here")
    assert_greedy_is_generate(load_language_model(name), QUESTIONS, 120)


def test_greedy_equals_generate_smollm2():
    if not (cache_folder() / "smollm2-135m").is_dir():
        pytest.skip("SmolLM2 is not at hand")
    lm = load_language_model("smollm2-135m")
    assert_greedy_is_generate(lm, QUESTIONS[:2], 24)


def slow_sample(lm, question, problem, sample, seed, temperature, max_length):
    """Tokens and logprob without cache, batch, padding or calculator."""
    tokens = encode_prompt(lm.tokenizer, question)
    start, total = len(tokens), 0.0
    address = hash_address(seed, problem, sample)
    while len(tokens) < max_length:
        with torch.no_grad():
            logits = lm.model(torch.tensor([tokens])).logits[0, -1].double()
        cumulated = torch.softmax(logits / temperature, -1).cumsum(-1)
        u = uniform(address, np.array(len(tokens) - start))
        token = int((cumulated > float(u)).nonzero()[0])
        total += float(logits.log_softmax(-1)[token])
        tokens.append(token)
        if token == lm.tokenizer.eos_token_id:
            break
    return tokens[start:], total


def test_samples_equal_a_slow_oracle(tiny_lm):
    drawn = complete(tiny_lm, QUESTIONS, 3, seed=5, max_length=60, calculator=False)
    for i, question in enumerate(QUESTIONS):
        for j in range(3):
            tokens, logprob = slow_sample(tiny_lm, question, i, j, 5, 0.7, 60)
            assert drawn[i][j].tokens == tokens
            assert drawn[i][j].logprob == pytest.approx(logprob, abs=1e-3)


def sample(lm, questions=QUESTIONS, n=4, **settings):
    return complete(lm, questions, n, **({"seed": 1, "max_length": 60} | settings))


def tokens_of(drawn):
    return [[completion.tokens for completion in row] for row in drawn]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batch_size_changes_nothing(tiny_lm, batch_size):
    """Refills, splits problems over cohorts, shares and repeats prompts."""
    batched = sample(tiny_lm, n=3, max_length=45, batch_size=batch_size)
    assert tokens_of(batched) == tokens_of(sample(tiny_lm, n=3, max_length=45))


@pytest.mark.parametrize("refill, compact", [(0.0, 0.0), (0.99, 1.0)])
def test_when_rows_enter_and_leave_changes_nothing(
    tiny_lm, monkeypatch, refill, compact
):
    """Never before the batch is done, and at every step."""
    settings = {"n": 5, "seed": 3, "max_length": 45, "batch_size": 7}
    usual = tokens_of(sample(tiny_lm, **settings))
    monkeypatch.setattr(decoding, "REFILL_BELOW", refill)
    monkeypatch.setattr(decoding, "COMPACT_BELOW", compact)
    assert tokens_of(sample(tiny_lm, **settings)) == usual


def test_engines_agree(tiny_lm, monkeypatch):
    fast = sample(tiny_lm, n=3, max_length=50, batch_size=7)
    monkeypatch.setattr(decoding, "new_engine", PlainEngine)
    slow = sample(tiny_lm, n=3, max_length=50, batch_size=7)
    assert tokens_of(fast) == tokens_of(slow)
    for row, other in zip(fast, slow, strict=True):
        sums = [completion.logprob for completion in other]
        assert [c.logprob for c in row] == pytest.approx(sums, abs=1e-3)


@pytest.mark.parametrize("dtype, error", [("float32", 1e-4), ("bfloat16", 0.2)])
def test_engine_logits_equal_an_uncached_forward(tiny_lm, dtype, error):
    """Two cohorts of different ages, one of them thinned out, prompts shared."""
    model = tiny_lm.model.to(getattr(torch, dtype))
    engine = new_engine(model)
    texts = [[5, 6, 7], [8, 9, 10, 11, 12], [20, 21]]
    rows = [list(texts[i]) for i in (0, 0, 0, 1)]
    with torch.inference_mode():
        engine.add(texts[:2], [3, 1])
        for step in range(40):
            if step == 18:
                engine.keep(torch.tensor([True, False, True, True]))
                del rows[1]
            if step == 20:
                engine.add(texts[2:], [2])
                rows += [list(texts[2]), list(texts[2])]
            tokens = [(7 * step + 3 * place) % 200 for place in range(len(rows))]
            for row, token in zip(rows, tokens, strict=True):
                row.append(token)
            logits = engine.step(torch.tensor(tokens))
        expected = [model(torch.tensor([row])).logits[0, -1] for row in rows]
    scale = torch.stack(expected).float().std()
    torch.testing.assert_close(
        logits.float(), torch.stack(expected).float(), atol=error * scale, rtol=0
    )


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_packed_weights_give_the_same_products(bpe_tokenizer, family):
    """On a CPU in bfloat16 alone: laid out once, as its products read them."""
    llama = tiny_llama(bpe_tokenizer).model
    model = llama if family == "llama" else make_tiny_gpt2(bpe_tokenizer)
    engine = new_engine(model)
    parts = [engine.weights.vocabulary, *engine.weights.layers[0]]
    assert not any(isinstance(p, Linear) and p.weight.is_mkldnn for p in parts)
    weights = new_engine(model.to(torch.bfloat16)).weights
    packed = [part for part in weights.layers[0] if isinstance(part, Linear)]
    assert [part.weight.is_mkldnn for part in [*packed, weights.vocabulary]] == (
        [PACKS] * 5
    )
    linear = Linear(torch.randn(7, 5).bfloat16().t(), torch.randn(5).bfloat16())
    x = torch.randn(3, 7).bfloat16()
    torch.testing.assert_close(linear.packed()(x), linear(x))


def test_rows_may_leave_before_their_first_step(tiny_lm):
    """While all layers still share one tensor without tokens."""
    engine, alone = new_engine(tiny_lm.model), new_engine(tiny_lm.model)
    with torch.inference_mode():
        engine.add([[5, 6, 7], [8, 9]], [2, 1])
        engine.keep(torch.tensor([True, False, True]))
        alone.add([[5, 6, 7]], [1])
        logits = [engine.step(torch.tensor([token, 9])) for token in (11, 12)]
        expected = [alone.step(torch.tensor([token])) for token in (11, 12)]
    for ours, theirs in zip(logits, expected, strict=True):
        torch.testing.assert_close(ours[:1], theirs, atol=1e-4, rtol=1e-4)


def test_unusual_models_take_the_plain_engine(bpe_tokenizer):
    assert type(new_engine(make_tiny_gpt2(bpe_tokenizer))) is Engine
    assert type(new_engine(tiny_llama(bpe_tokenizer).model)) is Engine
    assert type(new_engine(tiny_mistral(bpe_tokenizer).model)) is PlainEngine
    scaled = make_tiny_gpt2(bpe_tokenizer, scale_attn_by_inverse_layer_idx=True)
    assert type(new_engine(scaled)) is PlainEngine


def test_a_stopped_row_does_not_run_out_of_positions(byte_tokenizer):
    model = make_tiny_gpt2(byte_tokenizer, n_positions=40)
    lm = LanguageModel(model, byte_tokenizer)
    drawn = sample(lm, QUESTIONS[:2], 3, max_length=40)
    assert tokens_of(drawn) == tokens_of(
        sample(lm, QUESTIONS[:2], 3, max_length=40, batch_size=1)
    )


def test_stream_skips_what_is_done(tiny_gpt2):
    whole = sample(tiny_gpt2)
    given = (tiny_gpt2, QUESTIONS, 4, Rules(0.7, seed=1, max_length=60))
    stream = stream_completions(*given, batch_size=5)
    first = [next(stream) for _ in range(6)]
    stream.close()
    done = {(i, j) for i, j, _ in first}
    rest = list(stream_completions(*given, batch_size=5, skip=done))
    assert len(rest) == 10
    assert {(i, j) for i, j, _ in rest}.isdisjoint(done)
    assert all(c.tokens == whole[i][j].tokens for i, j, c in first + rest)


def test_memory_is_bounded_by_the_batch(tiny_gpt2, monkeypatch):
    """Only problems with rows in the batch hold their prompts' keys and values."""
    most = []

    class Watched(Engine):
        def step(self, tokens):
            most.append(sum(cohort.keys.shape[1] for cohort in self.cohorts))
            return super().step(tokens)

    monkeypatch.setattr(
        decoding, "new_engine", lambda model: Watched(new_engine(model).weights)
    )
    sample(tiny_gpt2, QUESTIONS * 5, 2, batch_size=4)
    assert max(most) <= 4


def test_shards_and_order_change_nothing(tiny_gpt2):
    whole = tokens_of(sample(tiny_gpt2))
    backwards = sample(tiny_gpt2, QUESTIONS[::-1], problem_ids=[3, 2, 1, 0])
    assert tokens_of(backwards)[::-1] == whole
    late = sample(tiny_gpt2, QUESTIONS[2:], 2, problem_ids=[2, 3])
    assert tokens_of(late) == [row[:2] for row in whole[2:]]


def test_seeds_and_temperatures_differ(tiny_gpt2):
    first = tokens_of(sample(tiny_gpt2))
    assert first == tokens_of(sample(tiny_gpt2))
    assert first != tokens_of(sample(tiny_gpt2, seed=2))
    assert first != tokens_of(sample(tiny_gpt2, temperature=1.0))
    assert len({tuple(tokens) for tokens in first[0]}) == 4  # samples differ
    cold = sample(tiny_gpt2, temperature=0.0)
    assert tokens_of(cold) == [
        [done.tokens] * 4 for done in greedy(tiny_gpt2, QUESTIONS, max_length=60)
    ]


def test_all_come_and_the_model_keeps_its_mode(tiny_gpt2):
    tiny_gpt2.model.train()
    assert sum(map(len, sample(tiny_gpt2, batch_size=4))) == 16
    assert sum(map(len, sample(tiny_gpt2, max_length=20))) == 16  # below two prompts
    assert tiny_gpt2.model.training
    tiny_gpt2.model.eval()


# --------------------------------------------------------------------------- the parts


def test_uniforms_are_uniform_and_addressed():
    addresses = hash_address(7, np.arange(200)[:, None], np.arange(50))
    assert len(np.unique(addresses)) == 10_000
    values = uniform(addresses, np.full(addresses.shape, 3))
    assert values.min() >= 0 and values.max() < 1
    counts, _ = np.histogram(values, 10, (0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9  # chi-square, 9 d.o.f., 0.001
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.04
    assert hash_address(7, 3, 2) == addresses[3, 2]
    assert hash_address(3, 7, 2) != addresses[3, 2]
    assert hash_address(-1, 2**63, 0) == hash_address(2**64 - 1, 2**63, 0)


def test_tokens_are_chosen_by_inverse_cdf():
    logits = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]])).repeat(5, 1)
    tokens, logprobs = choose_tokens(
        logits, 1.0, np.array([0.0, 0.19, 0.21, 0.69, 0.999])
    )
    assert tokens.tolist() == [0, 0, 2, 2, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.2, 0.2, 0.5, 0.5, 0.3])
    assert choose_tokens(logits, 0.0, np.zeros(5))[0].tolist() == [2] * 5
    # p ** 2 renormalised: 4, 25, 9 of 38
    tokens, logprobs = choose_tokens(
        logits, 0.5, np.array([0.1, 0.11, 0.76, 0.77, 0.9])
    )
    assert tokens.tolist() == [0, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.2, 0.5, 0.5, 0.3, 0.3])


@pytest.mark.parametrize("size", [5, 64, 1400, 1409])
def test_inverse_cdf_by_chunks_equals_the_plain_one(size):
    """Uniforms between 0 and 1, their ends, and tokens of no probability."""
    torch.manual_seed(size)
    logits = 3 * torch.randn(300, size)
    logits[:, ::3] = -torch.inf
    uniforms = uniform(hash_address(1, np.arange(300)), np.zeros(300))
    uniforms[:2] = 0, 1 - 2.0**-53
    cumulated = torch.softmax(logits / 0.7, -1).cumsum(-1, dtype=torch.float64)
    targets = torch.from_numpy(uniforms)[:, None] * cumulated[:, -1:]
    expected = torch.searchsorted(cumulated, targets, right=True).squeeze(1)
    tokens, _ = choose_tokens(logits, 0.7, uniforms)
    assert torch.equal(tokens[2:], expected[2:])
    assert torch.isfinite(logits[range(300), tokens]).all()


def test_tokens_chosen_a_few_rows_at_a_time_are_the_same(monkeypatch):
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 1400)
    uniforms = uniform(hash_address(1, np.arange(50)), np.zeros(50))
    whole = choose_tokens(logits, 0.7, uniforms)
    for together in (1, 3 * 1400):  # fewer than a row; three rows and a rest
        monkeypatch.setattr(decoding, "CHOSEN_TOGETHER", together)
        for parts in zip(choose_tokens(logits, 0.7, uniforms), whole, strict=True):
            assert torch.equal(*parts)


def test_batch_sizes(byte_tokenizer):
    assert choose_batch_size(make_tiny_gpt2(byte_tokenizer), 400) == 512
    with torch.device("meta"):
        smollm2 = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=49152,
                hidden_size=576,
                num_hidden_layers=30,
                num_attention_heads=9,
                num_key_value_heads=3,
            )
        )
    assert choose_batch_size(smollm2, 400) == 256


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"n": 0}, "at least 1, not 0"),
        ({"temperature": -1.0}, "Temperature must be 0 or more"),
        ({"temperature": float("nan")}, "Temperature must be 0 or more"),
        ({"max_length": 401}, "401 exceeds the model's 400 positions"),
    ],
)
def test_refuses_wrong_settings(tiny_gpt2, settings, message):
    with pytest.raises(ValueError, match=message):
        sample(tiny_gpt2, **settings)


def test_refuses_broken_weights(tiny_gpt2):
    with torch.no_grad():
        tiny_gpt2.model.transformer.ln_f.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="logits are not finite"):
        sample(tiny_gpt2)
