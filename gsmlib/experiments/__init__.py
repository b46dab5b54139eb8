"""A module per notebook: the grid of specs behind a figure, and its tidy table.

One row per point of a curve and seed. `stages` lists what a notebook needs from the
pipeline, so that a whole report can be planned and computed before it is drawn.
"""

from collections.abc import Callable

from gsmlib.config import (
    CalculatorSettings,
    DropoutSettings,
    OpenPointSettings,
    ScalingSettings,
    TestAtNSettings,
    TestTimeSettings,
    TokenScoreSettings,
    VerificationSettings,
    VerifierAblationSettings,
)
from gsmlib.experiments.ablations import (
    ablation_stages,
    checkpoint_scores,
    model_pairs,
    verifier_training_curve,
)
from gsmlib.experiments.basics import (
    calculator_stages,
    calculator_value,
    dataset_table,
    gsm8k_at_hand,
    test_at_n_curve,
    test_at_n_stages,
)
from gsmlib.experiments.dropout import (
    dropout_finetuning_table,
    dropout_solution_table,
    dropout_stages,
    dropout_token_table,
    finetuning_arms,
    solution_arms,
    token_arms,
)
from gsmlib.experiments.open_points import (
    open_point_stages,
    open_point_table,
    verifier_variants,
)
from gsmlib.experiments.scaling import (
    direct_pair,
    direct_table,
    scaling_stages,
    scaling_table,
)
from gsmlib.experiments.shared import (
    finetune_spec,
    matrix,
    test_spec,
    verifier_spec,
)
from gsmlib.experiments.test_time import (
    more_completions_scores,
    more_completions_stages,
    more_completions_table,
    read_completions,
)
from gsmlib.experiments.token_scores import (
    calibration_table,
    scored_completions,
    scores_spec,
    side_by_side_table,
    token_score_stages,
    token_score_table,
)
from gsmlib.experiments.verification import (
    regime_table,
    verification_curve,
    verification_stages,
)
from gsmlib.study.specs import Spec

__all__ = [
    "calculator_value",
    "calibration_table",
    "checkpoint_scores",
    "dataset_table",
    "direct_pair",
    "direct_table",
    "dropout_finetuning_table",
    "dropout_solution_table",
    "dropout_token_table",
    "finetune_spec",
    "finetuning_arms",
    "gsm8k_at_hand",
    "matrix",
    "model_pairs",
    "more_completions_scores",
    "more_completions_table",
    "open_point_table",
    "read_completions",
    "regime_table",
    "scaling_table",
    "scored_completions",
    "scores_spec",
    "side_by_side_table",
    "solution_arms",
    "stages",
    "test_at_n_curve",
    "test_spec",
    "token_arms",
    "token_score_table",
    "verification_curve",
    "verifier_spec",
    "verifier_training_curve",
    "verifier_variants",
]

STAGES: dict[type[Spec], Callable[..., list[Spec]]] = {
    CalculatorSettings: calculator_stages,
    TestAtNSettings: test_at_n_stages,
    VerificationSettings: verification_stages,
    ScalingSettings: scaling_stages,
    DropoutSettings: dropout_stages,
    VerifierAblationSettings: ablation_stages,
    TestTimeSettings: more_completions_stages,
    TokenScoreSettings: token_score_stages,
    OpenPointSettings: open_point_stages,
}


def stages(settings: Spec) -> list[Spec]:
    """Return the last stages that a notebook's tables are made of.

    `settings` are a notebook's; their ancestors follow from the specs themselves.
    """
    make = STAGES.get(type(settings))
    return make(settings) if make else []
