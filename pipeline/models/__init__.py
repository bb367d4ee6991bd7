"""A name or a file becomes a classifier, and its network can be cut at any layer."""
