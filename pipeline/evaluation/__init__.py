"""The job `analyze`: how often a classifier is right, where it errs, and what explains that."""
