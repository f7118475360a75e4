"""What differs between implementations, measured now or before: pairs, changes, and what these do to numbers.

The rule of what a change is stands in results/facts.py. Commands enter here.
"""
