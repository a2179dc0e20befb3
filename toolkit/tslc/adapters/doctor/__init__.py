"""Where `tslc doctor` looks: programs, packages, processes, limits, disks, and the store."""
