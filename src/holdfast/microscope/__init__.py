"""Looking inside a layer: how far gradients reach, and figures to show it."""

from .colours import colour_map
from .figures import Series, heat_map, line_chart
from .gradients import state_gradients

__all__ = ["Series", "colour_map", "heat_map", "line_chart", "state_gradients"]
