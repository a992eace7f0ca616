"""Slow and plain re-computations that the library is compared with; they share no code with it."""
