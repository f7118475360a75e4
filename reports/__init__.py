"""How results are shown. Made from result files alone; it decides nothing."""
