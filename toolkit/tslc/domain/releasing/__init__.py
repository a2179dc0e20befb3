"""A release: a version on its way to all traffic, step by step, or back."""
