"""The settings of 08_verifier_scores."""

from gsmlib.chapters.study_settings import OneModel, VerifierSettings


class TokenScoreSettings(OneModel, VerifierSettings):
    """The scores of single tokens and completions (Fig 13)."""
