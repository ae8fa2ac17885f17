"""The pure core: no I/O, no clock, no randomness, no driver. Time arrives inside entries."""
