"""From the case that shows a divergence to the smallest one that does, and to what a person sees of it.

The engine and the exploration use it.
"""
