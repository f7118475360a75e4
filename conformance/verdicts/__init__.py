"""A requirement held against what was observed: a module for each rule (docs/verdicts.md)."""
