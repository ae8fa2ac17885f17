"""The twelve stories of a model of the protocol as it was first written down, told to the code as it is built.

Each was a hole: rules that together permitted it. The number is the story's; the module's docstring tells it.
"""
