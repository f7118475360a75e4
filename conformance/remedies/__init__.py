"""What a port writes instead of a plain call, as functions with a sentence each; tests run every one of them.

The kinds of layers list them, verdicts show the sentences. Nothing here knows a formula of the oracle or a verdict.
"""
