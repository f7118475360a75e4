"""Which semantics made these arrays: from x and y, and what is known of the layer, to an answer in words.

No layer runs here: the arrays are there already. The commands and the public face enter by ``identify.identify``.
"""
