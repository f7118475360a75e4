"""Checks for the unit tests of a project that has its own layers or its own adapter."""

from __future__ import annotations

from normgauge.conformance.form.adapter import WrongAdapter, check_adapter

__all__ = ["WrongAdapter", "check_adapter"]
