"""A campaign: many runs, of several frameworks, releases and seeds, as tasks of Dask distributed.

The command line starts it; it uses a run's engine for each task, and needs the extra ``campaign``.
"""
