"""The settings of 14_process_labels."""

from gsmlib.chapters.study_settings import OneModel, VerifierSettings


class ProcessSettings(OneModel, VerifierSettings):
    """Verifiers of answers and of lines; there are none of data other than MiniGSM."""
