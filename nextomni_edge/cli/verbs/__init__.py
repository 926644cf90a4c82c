"""The verbs: one module for each command of `nextomni-edge`."""
