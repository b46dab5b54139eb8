"""The paper's mechanisms; they know no paths and no caches."""
