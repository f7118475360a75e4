"""Every mutant that cosmic-ray makes of the plain layers, and the adapter that serves them."""

from __future__ import annotations

from typing import Final

from correct.mutants import MutantsAdapter, implementations, made, numbered

MADE: Final = numbered(made())


class MadeAdapter(MutantsAdapter):
    mutants = MADE
    implementations = implementations(MADE)
