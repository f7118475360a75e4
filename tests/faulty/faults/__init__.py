"""Faults that somebody shipped or reported, and the classic mistakes of kernels: each a small override, as data.

``table.FAULTS`` has all of them; a module is a family.
"""
