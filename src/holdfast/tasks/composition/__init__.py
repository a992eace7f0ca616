"""Composition: music in, more music of the kind out."""
