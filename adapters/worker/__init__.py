"""The process that a framework runs in, and the lines that it reads and writes (docs/protocol.md).

The engine talks to it; nothing here knows what is asked or why.
"""
