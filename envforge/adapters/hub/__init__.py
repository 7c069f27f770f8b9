"""The Hugging Face hub, through huggingface_hub; imported where it is used, for it is slow."""
