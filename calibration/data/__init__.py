"""What a quantiser looks at: prompts, trajectories, and what every layer reads of them."""
