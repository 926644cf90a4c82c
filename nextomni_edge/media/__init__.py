"""Media files in and out: a person's files become the encoders' arrays, and answers become
files."""
