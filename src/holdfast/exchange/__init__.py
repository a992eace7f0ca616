"""To and from other ways to write the same model."""
