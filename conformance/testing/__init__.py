"""The doors of a unit test: arrays against the proven bound, and a function through the experiments of the suite.

Users enter by ``normgauge.testing``; the command line and the pytest plugin may use this room, nothing below it does.
"""
