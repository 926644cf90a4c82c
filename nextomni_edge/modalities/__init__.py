"""The modalities that prompts and answers are of: one file each, and one line in `table.py`."""
