"""Asks an implementation for its results and judges them. docs/architecture.md says which folder imports which."""
