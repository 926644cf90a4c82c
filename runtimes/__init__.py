"""Runtimes: one file each; a vendor's library is imported inside its own file only."""
