"""The settings of 10_claims."""

from gsmlib.records import Record


class ClaimSettings(Record):
    """The ledger of a scale, from its exported tables."""

    scale: str
