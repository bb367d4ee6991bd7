"""What tests share: clips and pages that are made, processes that are watched, files that are read a second way."""
