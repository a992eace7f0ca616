"""The runs that the commands make have no reports, but where they are read."""

from tests.reports import no_reports, reported

__all__ = ["no_reports", "reported"]
