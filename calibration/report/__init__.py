"""The cost of a variant against its parent, measured and drawn."""
