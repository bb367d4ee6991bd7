"""Files, whatever is in them: written whole or not at all, named, told apart by content, locked, hashed."""
