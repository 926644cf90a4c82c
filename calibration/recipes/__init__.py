"""What happens to a layer's weight, and who decides it."""
