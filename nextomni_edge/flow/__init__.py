"""Discrete flow matching over a probability path, for numpy and torch alike (METHOD 3 and 9)."""
