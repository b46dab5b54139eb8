"""The settings of 03_verification."""

from gsmlib.chapters.study_settings import ModelGrid, VerifierSettings


class VerificationSettings(ModelGrid, VerifierSettings):
    """Finetuning against verification (Fig 5)."""
