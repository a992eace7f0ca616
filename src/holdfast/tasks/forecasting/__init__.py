"""Forecasting: from a table of series to what comes, with intervals."""

from .task import Forecast

__all__ = ["Forecast"]
