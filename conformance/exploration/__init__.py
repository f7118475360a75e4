"""The search beyond the experiments, with Hypothesis, for inputs on which an implementation departs.

The engine starts it once an implementation has been judged; what it finds changes no verdict.
"""
