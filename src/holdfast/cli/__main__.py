"""`python -m holdfast.cli`, the command `holdfast`."""

from . import app

app()
