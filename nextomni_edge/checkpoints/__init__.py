"""Model directories and published checkpoints, read one tensor at a time, without torch."""
