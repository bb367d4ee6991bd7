"""What the network said of each frame, and the files that keep it."""
