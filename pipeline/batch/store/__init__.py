"""The store of an archive, one SQLite file: which source is to become which output, who is at it, and what was seen in it."""
