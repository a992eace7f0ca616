"""A program as steps, divided into passes: what the compiled engines have in common."""
