"""Looking inside a model: what its recurrent layers do, how far they remember, what single units track, and figures."""

from .colours import colour_map
from .diagram import diagram
from .figures import Band, Series, heat_map, line_chart
from .horizon import Horizon, memory_horizon
from .interventions import clamp
from .letters import coloured_text
from .plots import plot_heat_map, plot_horizon, plot_probe, plot_saturation, plot_time_constants, plot_units
from .probes import Probe, probe, rank_units
from .recording import MicroscopeError, Recording, record
from .steps import Steps, record_steps
from .store import Match, Traces, write_traces
from .subject import Subject, subject_of
from .tables import probe_table, units_table
from .units import Saturation, dead_units, saturation, time_constants

__all__ = [
    "Band",
    "Horizon",
    "Match",
    "MicroscopeError",
    "Probe",
    "Recording",
    "Saturation",
    "Series",
    "Steps",
    "Subject",
    "Traces",
    "clamp",
    "colour_map",
    "coloured_text",
    "dead_units",
    "diagram",
    "heat_map",
    "line_chart",
    "memory_horizon",
    "plot_heat_map",
    "plot_horizon",
    "plot_probe",
    "plot_saturation",
    "plot_time_constants",
    "plot_units",
    "probe",
    "probe_table",
    "rank_units",
    "record",
    "record_steps",
    "saturation",
    "subject_of",
    "time_constants",
    "units_table",
    "write_traces",
]
