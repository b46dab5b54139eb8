"""gsmlib: the GSM8K verifier paper (Cobbe et al. 2021), reproduced step by step."""
