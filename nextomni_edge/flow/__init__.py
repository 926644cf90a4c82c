"""Discrete flow matching with a metric-induced path (METHOD 3), for numpy and torch alike."""
