"""File formats whose bytes are not trusted: each is read by our own code before any library sees
it."""
