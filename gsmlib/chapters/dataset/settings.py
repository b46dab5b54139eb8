"""The settings of 00_dataset."""

from gsmlib.chapters.study_settings import WorldSettings
from gsmlib.records import Count
from gsmlib.settings import ScaleName


class DatasetSettings(WorldSettings):
    """How many MiniGSM problems are described."""

    scale: ScaleName
    n_train: Count
    """MiniGSM training problems to describe"""
    test_problems: Count
    """MiniGSM test problems to describe"""
