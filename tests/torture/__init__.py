"""Campaigns against the store, the stages, the calculator and what people type.

`make torture` runs them in full, tests/test_torture.py in seconds. Each campaign is a
function of a seed and of how much to try; it returns its figures and its failures, a
sentence each.
"""
