"""The settings of 08_verifier_scores."""

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.scales import QUICK_TEST


class TokenScoreSettings(OneModel, VerifierSettings):
    """The scores of single tokens and completions (Fig 13)."""


SCALES = {"quick": QUICK_TEST}
