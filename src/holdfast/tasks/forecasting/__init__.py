"""Forecasting: from a table of series to what comes, with intervals."""

from .estimator import Forecaster
from .task import Forecast

__all__ = ["Forecast", "Forecaster"]
