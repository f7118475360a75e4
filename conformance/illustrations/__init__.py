"""What measured choices do, as numbers that a report draws: the oracle computes every curve.

Commands enter here; reports know no formula, and are handed the numbers.
"""
