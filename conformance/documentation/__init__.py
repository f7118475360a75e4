"""What the installed documentation of an implementation says, read from its docstrings.

The engine sets it beside what was measured.
"""
