"""Finding the inputs of an archive: what the user names, which files are wanted, the walk through the folders, exact copies."""
