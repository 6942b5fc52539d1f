"""The command `lstm-oracle`: argument parsing, the user's files, and how a report is written.

`main` has the parser; every verb is one module with `add_arguments(parser)` and `run(arguments)`.
"""
