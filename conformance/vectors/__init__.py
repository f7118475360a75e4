"""Vectors for those who cannot run us: the cases as files, and answers from files in place of a worker.

``export`` writes the cases with the expected values and their bounds. ``replay`` is a subject that answers from a
folder.
"""
