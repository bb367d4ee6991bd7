"""The state of a batch: one SQLite file, written here and read here. Alone knows SQLite."""
