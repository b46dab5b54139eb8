"""The paper's exact numbers, hyperparameters and claims, as data.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168v2.
Only what the text or the released files state; nothing was read off a figure's pixels.
Shares are fractions of 1.
"""

from types import MappingProxyType
from typing import Any, NamedTuple


class Claim(NamedTuple):
    """A claim, also in brief; `value`: what the paper states for `quantity`, if so.

    unit: "points" (of accuracy, a fraction of 1 in `value`), "ratio", or what is
    counted, in the plural.
    """

    id: str
    section: str
    figure: str
    brief: str
    statement: str
    quantity: str
    value: float | None = None
    unit: str = "points"


# Accuracy of the 6B model with natural-language steps and without.
DIRECT_ACCURACY = MappingProxyType({"with steps": 0.206, "direct": 0.052})

# Of completions a problem, the fewest and most voters that are best.
BEST_VOTERS = MappingProxyType({100: (3, 5), 3200: (30, 30)})

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "C1",
        "Section 4.1",
        "fig2",
        "data and parameters both help",
        "More data and more parameters both raise finetuned test@1, about log-linearly "
        "in parameters.",
        "parameters extrapolated for 80 % test@1",
        1e16,
        "parameters",
    ),
    Claim(
        "C2",
        "Section 4.1",
        "fig3",
        "test@1 rises past the least loss",
        "test@1 rises about monotonically over epochs while the test loss already "
        "overfits.",
        "change of test@1 from the least test loss to the end",
    ),
    Claim(
        "C3",
        "Section 4.1",
        "fig3",
        "test@100 peaks early, then falls",
        "test@100 peaks within the first few epochs, then falls, more sharply than "
        "test@1.",
        "fall of test@100 from its peak to the end",
    ),
    Claim(
        "C4",
        "Section 4.1",
        "text",
        "without steps accuracy collapses",
        "Without natural-language steps accuracy collapses, from 20.6 % to 5.2 % (6B).",
        "ratio of accuracy without steps to accuracy with steps",
        DIRECT_ACCURACY["direct"] / DIRECT_ACCURACY["with steps"],
        "ratio",
    ),
    Claim(
        "C5",
        "Section 4.2",
        "fig5",
        "no help on small training sets",
        "Verification does not help on small training sets.",
        "verification minus finetuning on the smallest training set",
    ),
    Claim(
        "C6",
        "Section 4.2",
        "fig5",
        "strong boost on the full set",
        "Verification gives a strong boost on the full set, about that of a 30x larger "
        "model; 6B verified slightly beats 175B finetuned.",
        "verification minus finetuning on the full set, largest model",
        0.5625 - 0.3472,  # 175B, the released solutions
    ),
    Claim(
        "C7",
        "Section 4.2",
        "fig5",
        "larger verifiers take off earlier",
        "Larger verifiers take off at fewer training problems.",
        "training problems at which verification overtakes finetuning, small / large",
        unit="ratio",
    ),
    Claim(
        "C8",
        "Section 4.3",
        "fig6a",
        "token-level beats solution-level",
        "Token-level verifiers start slower, end higher and overfit less than "
        "solution-level ones.",
        "token-level minus solution-level accuracy at the end of training",
    ),
    Claim(
        "C9",
        "Section 4.3",
        "fig6b",
        "joint objective beats verifier alone",
        "The joint objective beats verification only.",
        "joint minus verification-only accuracy",
    ),
    Claim(
        "C10",
        "Section 4.3",
        "fig6c",
        "large generator, small verifier",
        "A large generator with a small verifier beats a small generator with a large "
        "verifier.",
        "accuracy of large generator, small verifier minus that of the reverse",
    ),
    Claim(
        "C11",
        "Section 5.1",
        "fig7a",
        "too many completions hurt",
        "Accuracy rises with the number of completions up to some number, then falls.",
        "completions per problem at the peak",
        400,
        "completions",
    ),
    Claim(
        "C12",
        "Section 5.1",
        "fig7b",
        "a vote of the top few helps",
        "A vote among the top few helps; the best k grows with the completions: 3-5 of "
        "100, about 30 of 3,200.",
        "best k of the most completions (the paper: 3,200)",
        BEST_VOTERS[3200][0],
        "voters",
    ),
    Claim(
        "C13",
        "Section 5.2",
        "fig8a",
        "dropout helps finetuning",
        "Dropout improves finetuning.",
        "accuracy with dropout minus accuracy without",
    ),
    Claim(
        "C14",
        "Section 5.2",
        "fig8b",
        "dropout helps solution-level",
        "Dropout improves solution-level verifiers, up to token-level performance.",
        "solution-level accuracy with dropout minus accuracy without",
    ),
    Claim(
        "C15",
        "Section 5.2",
        "fig8c",
        "dropout hardly helps token-level",
        "Dropout helps token-level verifiers only slightly.",
        "token-level accuracy with dropout minus accuracy without",
    ),
    Claim(
        "C16",
        "Appendix B",
        "text",
        "loss and temperature hardly matter",
        "Mean squared error or cross-entropy, temperature 0.7 or 1.0: the "
        "difference is negligible.",
        "difference in verified accuracy",
    ),
    Claim(
        "C17",
        "Appendix E",
        "text",
        "start from the generator",
        "A verifier that starts from the generator is slightly better than one that "
        "starts from the pretrained model.",
        "accuracy started from the generator minus that from the pretrained",
    ),
)

FIGURES = MappingProxyType(
    {
        "fig1": "example problems, the calculator's annotations highlighted",
        "fig2": "finetuned test@1 over training-set size and over model size",
        "fig3": "test@1 and test@n over epochs of finetuning, with the test loss",
        "fig4": "diagram of the verification pipeline",
        "fig5": "finetuning against verification over training-set size",
        "fig6a": "token-level against solution-level verifier",
        "fig6b": "joint objective against verification only",
        "fig6c": "small and large generators with small and large verifiers",
        "fig7a": "verified accuracy against completions per problem",
        "fig7b": "accuracy of the vote of the top k",
        "fig8a": "finetuning with and without dropout",
        "fig8b": "solution-level verifier with and without dropout",
        "fig8c": "token-level verifier with and without dropout",
        "fig9": "the calculator's sampling procedure, step by step",
        "fig12": "the joint objective's mask",
        "fig13": "verifier scores per token for five solutions",
    }
)

# Accuracy of the released solutions over the 1,319 test problems.
RELEASED_ACCURACY = MappingProxyType(
    {
        "6b_finetuning": 0.2168,
        "6b_verification": 0.3904,
        "175b_finetuning": 0.3472,
        "175b_verification": 0.5625,
    }
)
SIZE_FACTOR = 30
BEST_COMPLETIONS = 400
DROPOUT = 0.2
CALCULATOR_BUG = 0.01  # their own runs lost up to this much accuracy to it

SOLVED = (
    "6B models solve 21.7 % by finetuning and 39.0 % by verification, 175B models "
    "34.7 % and 56.3 %"
)
# What the paper states exactly about a figure, for a caption.
STATED = MappingProxyType(
    {
        "fig2": "the trend extrapolates to 80 % test@1 at 1e16 parameters",
        "fig5": f"{SOLVED} (released solutions); the boost is worth about a 30x larger "
        "model",
        "direct": "6B models solve 20.6 % with steps and 5.2 % without",
        "fig7a": "accuracy rises up to 400 completions a problem",
        "fig7b": "the best vote is among the top 3 to 5 of 100 completions and about "
        "the top 30 of 3,200",
        **dict.fromkeys(("fig8a", "fig8b", "fig8c"), "residual dropout of 20 %"),
        "released": SOLVED,
    }
)

TRAIN_PROBLEMS = 7473
TEST_PROBLEMS = 1319

# Table 1 (Appendix B); rates are per parameter count of the pretrained model.
_BASE_RATE = {"3B": 1.6e-5, "6B": 1.2e-5, "12B": 1.0e-5, "175B": 6.0e-6}
_TABLE_1: dict[str, dict[str, Any]] = {
    "general": dict(
        batch_tokens=32_000,
        max_length=400,
        adam_betas=(0.9, 0.95),
        dropout=0.0,
        schedule="linear to 0",
    ),
    "finetuning": dict(
        epochs=20,
        temperature=0.0,
        base_rate=MappingProxyType(_BASE_RATE),
        rate_factor=0.1,
    ),
    "verification": dict(
        generator_epochs=2,
        verifier_epochs=1,
        temperature=0.7,
        learning_rate=1.0e-5,
        loss="mse",
        language_weight=1.0,
        completions_train=100,
        completions_test=100,
    ),
    "fig8c": dict(batch_tokens=128_000, completions_train=300, completions_test=300),
    "fig7a": dict(completions_train=100),
}
HYPERPARAMETERS = MappingProxyType(
    {name: MappingProxyType(values) for name, values in _TABLE_1.items()}
)


def claim(claim_id: str) -> Claim:
    """Return the claim of an id such as "C5"; raises KeyError with the known ids."""
    for row in CLAIMS:
        if row.id == claim_id:
            return row
    raise KeyError(f"no claim {claim_id!r}; the ledger holds C1 to C{len(CLAIMS)}")


def says(paper_id: str) -> str:
    """Return what the paper says for a claim ("C5") or shows in a figure ("fig5")."""
    if paper_id in FIGURES:
        claims = [row.id for row in CLAIMS if row.figure == paper_id]
        note = f" (claims {', '.join(claims)})" if claims else ""
        return f"{paper_id}: {FIGURES[paper_id]}{note}."
    row = claim(paper_id)
    return f"{row.id} ({row.section}): {row.statement}"
