"""A run: what is asked for, the tasks that it falls into, and the records that they give.

The command line and the pytest plugin start it; it puts together all the rooms below.
"""
