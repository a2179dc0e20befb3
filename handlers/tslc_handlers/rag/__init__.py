"""Retrieval before the model: an index in the archive, searched, fused, cut to fit."""
