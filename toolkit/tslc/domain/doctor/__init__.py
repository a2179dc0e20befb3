"""What `tslc doctor` makes of what was seen: facts in, a finding out. No I/O."""
