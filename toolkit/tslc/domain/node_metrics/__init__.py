"""What a node tells Prometheus of its workers, its router and its agent, as values."""
