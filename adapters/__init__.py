"""How to reach a framework: each has a folder, which translates layouts and names and nothing else.

NumPy and that framework are all that is imported here, so that a worker runs in any framework's environment.
"""
