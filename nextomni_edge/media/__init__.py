"""Media files in and out: what a person hands over becomes the arrays that the encoders take, and
answers become files."""
