"""Which of the paper's claims hold? The ledger, drawn; `chapters.ledger` reads it."""

from gsmlib.chapters.claims import figures
from gsmlib.chapters.claims.settings import ClaimSettings
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter

__all__ = ["CHAPTER"]

WORDS = "the verdicts on all claims"

CHAPTER = Chapter(
    "11_claims",
    ClaimSettings,
    figures=(Figure("ledger_of_claims", figures.ledger, (1, 1, 3.6), WORDS),),
    reads_others=True,
)
