"""The command line: `amends`. Commands only read arguments, ask the client or the composition root, and print.

A module for each group of commands; what a command needs is imported when it runs, so that `amends orchestrator` is at
work before the rest would have been read.
"""
