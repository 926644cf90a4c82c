"""What is done to a layer's weight, and who decides it."""
