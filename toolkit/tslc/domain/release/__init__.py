"""What an environment is to serve, how that is changed, and what a node does about it."""
