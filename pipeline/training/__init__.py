"""The job `train`: a classifier of one's own on top of a network of the zoo."""
