"""The job `batch`: a whole archive, unattended, and what is asked of it afterwards."""
