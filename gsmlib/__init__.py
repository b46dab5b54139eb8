"""gsmlib: the GSM8K verifier paper (Cobbe et al. 2021), reproduced step by step."""

from importlib.metadata import version

__version__ = version("gsmlib")  # pyproject.toml's, as installed
