"""The sampling loop over any runtime: numpy only, no torch."""
