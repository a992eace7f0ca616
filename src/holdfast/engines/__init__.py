"""Runs a traced cell over a sequence. Every engine does the same; `operator` is how PyTorch sees them."""
