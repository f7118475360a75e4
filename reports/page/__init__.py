"""The report on a folder of results: one self-contained HTML page."""
