"""The settings of 03_verification."""

from gsmlib.chapters.study_settings import ModelGrid, VerifierSettings
from gsmlib.scales import QUICK_TEST


class VerificationSettings(ModelGrid, VerifierSettings):
    """Finetuning against verification (Fig 5)."""


SCALES = {"quick": QUICK_TEST}
