"""Checkpoints of T5X, Hugging Face and this package, converted into each other."""
