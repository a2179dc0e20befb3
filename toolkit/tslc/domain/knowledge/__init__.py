"""A knowledge base: documents, the passages they are cut into, and what a build says of them."""
