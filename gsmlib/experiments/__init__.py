"""A module per notebook: the grid of specs behind a figure, and its tidy table.

One row per point of a curve and seed. `stages` lists what a notebook needs from the
pipeline, so that a whole report can be planned and computed before it is drawn.
"""

from collections.abc import Callable

from gsmlib.config import (
    CalculatorSettings,
    Spec,
    TestAtNSettings,
    VerificationSettings,
)
from gsmlib.experiments.basics import (
    calculator_stages,
    calculator_value,
    dataset_table,
    gsm8k_at_hand,
    test_at_n_curve,
    test_at_n_stages,
)
from gsmlib.experiments.shared import (
    finetune_spec,
    matrix,
    test_spec,
    verifier_spec,
)
from gsmlib.experiments.verification import (
    regime_table,
    verification_curve,
    verification_stages,
)

__all__ = [
    "calculator_value",
    "dataset_table",
    "finetune_spec",
    "gsm8k_at_hand",
    "matrix",
    "regime_table",
    "stages",
    "test_at_n_curve",
    "test_spec",
    "verification_curve",
    "verifier_spec",
]

STAGES: dict[type[Spec], Callable[..., list[Spec]]] = {
    CalculatorSettings: calculator_stages,
    TestAtNSettings: test_at_n_stages,
    VerificationSettings: verification_stages,
}


def stages(settings: Spec) -> list[Spec]:
    """Return the last stages that a notebook's tables are made of.

    `settings` are a notebook's; their ancestors follow from the specs themselves.
    """
    make = STAGES.get(type(settings))
    return make(settings) if make else []
