"""Models on the Hugging Face hub: `hf:OWNER/NAME[@REVISION]` read, and bundles pushed."""
