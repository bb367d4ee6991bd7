"""The jobs `image`, `video`, `predict` and `demo`, from a path to a finished file."""
