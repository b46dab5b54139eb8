"""The settings of 00_dataset."""

from gsmlib.records import Count, Record
from gsmlib.settings import ScaleName


class DatasetSettings(Record):
    """How many MiniGSM problems are described."""

    scale: ScaleName
    n_train: Count
    """MiniGSM training problems to describe"""
    test_problems: Count
    """MiniGSM test problems to describe"""
