"""What the user sees: help, completion, progress, result lines."""
