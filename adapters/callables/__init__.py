"""A plain function as a layer: its signature, the arrays that it takes, and an adapter that is made from both.

The registry enters here for ``module:function``, and a unit test for a function of its own.
"""
