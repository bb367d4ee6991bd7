"""Files, whatever is in them: output paths, atomic writes, types by content, locks, fingerprints, and the processes that use them."""
