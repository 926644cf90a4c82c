"""Core ML packages: Apple's library runs them on a Mac, our interpreter elsewhere."""
