"""Layouts: how published checkpoints name their tensors, and what those are in a model of ours. No
torch, nothing copied."""
