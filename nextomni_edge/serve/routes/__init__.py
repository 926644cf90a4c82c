"""The addresses that a server answers, a file for each part of the interface."""
