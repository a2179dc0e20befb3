"""`tslc agent`: brings a node to what the store says, and keeps it there."""
