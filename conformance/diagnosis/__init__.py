"""Which semantics an implementation follows: what the oracle predicts, and what lies within its bounds.

The verdicts are built on it; it knows requirements by their cases alone.
"""
