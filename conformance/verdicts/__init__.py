"""Verdicts on requirements: one module per rule (docs/verdicts.md)."""
