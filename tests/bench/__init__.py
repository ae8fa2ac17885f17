"""`make bench`: how fast Amends is, through its public API with the defaults that are shipped. See `__main__`."""
