"""`tslc release`: a version's way to all traffic."""
