"""A bundle: a directory that holds a model for a device, and its proof."""
