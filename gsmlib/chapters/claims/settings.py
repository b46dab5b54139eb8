"""The settings of 11_claims."""

from gsmlib.records import Record
from gsmlib.settings import ScaleName


class ClaimSettings(Record):
    """The ledger of a scale, from its exported tables."""

    scale: ScaleName
