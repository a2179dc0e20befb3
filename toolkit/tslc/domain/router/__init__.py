"""What the router does with a request, as values, and the Envoy configuration that does it."""
