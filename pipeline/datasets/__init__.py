"""Labelled pictures: class folders, near-duplicates, pixels kept ready for a network."""
