"""Who does the work of a batch: processes of this machine, or Ray's workers."""
