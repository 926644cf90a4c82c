"""Model directories and published checkpoints: read a tensor at a time, without torch."""
