"""The models that have a name here: their shapes, and the files of those shipped."""

from pathlib import Path

# The mini-GPTs, shipped in WEIGHTS: (width, layers); a head is 32 wide, and there are
# at least two.
MINI_SIZES = {
    "mini-0.1m": (32, 4),
    "mini-0.3m": (64, 4),
    "mini-1m": (128, 4),
    "mini-3m": (192, 6),
}
WEIGHTS = Path(__file__).parents[1] / "weights"
TOKENIZER_FILE = WEIGHTS / "tokenizer.json"
