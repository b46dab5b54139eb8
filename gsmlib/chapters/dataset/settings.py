"""The settings of 00_dataset."""

from gsmlib.records import Count, Record


class DatasetSettings(Record):
    """How many MiniGSM problems are described."""

    scale: str
    n_train: Count
    test_problems: Count
