"""What is computed once and kept: specs, stages, store, estimates, workers."""
