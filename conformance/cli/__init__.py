"""The command line, a module for each kind of command. The only room that makes reports."""
