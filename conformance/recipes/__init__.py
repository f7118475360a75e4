"""Recipes: the code to write with one layer in place of another, made from two profiles, and its verification.

A recipe knows no pair: the axes of the profiles say what changes, the adapters how code is written.
Commands enter here.
"""
