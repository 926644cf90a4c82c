"""Core ML packages: run by Apple's library on a Mac, by an interpreter of ours elsewhere."""
