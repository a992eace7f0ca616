"""Training: the loop, options, optimisers, devices, and the folder of a run. Knows no task."""

from holdfast.extras import MissingExtra, require

from .budget import ENOUGH_STEPS, Plan, Speed, largest
from .devices import Devices, devices, is_first, usable
from .files import replaced, write_atomically
from .loop import Diverged, Interrupted, Keeper, Loss, Nowhere, Position, Problem, Quiet, Training, Watcher
from .optimisers import Pace
from .options import Option, OptionError, TrainingOptions, assignments, make, option, options_of, redeclared, size
from .run import CONFIG, DATA, MODEL, Run, RunError
from .tensors import DamagedFile, load_tensors, save_tensors

__all__ = [
    "CONFIG",
    "DATA",
    "ENOUGH_STEPS",
    "MODEL",
    "DamagedFile",
    "Devices",
    "Diverged",
    "Interrupted",
    "Keeper",
    "Loss",
    "MissingExtra",
    "Nowhere",
    "Option",
    "OptionError",
    "Pace",
    "Plan",
    "Position",
    "Problem",
    "Quiet",
    "Run",
    "RunError",
    "Speed",
    "Training",
    "TrainingOptions",
    "Watcher",
    "assignments",
    "devices",
    "is_first",
    "largest",
    "load_tensors",
    "make",
    "option",
    "options_of",
    "redeclared",
    "replaced",
    "require",
    "save_tensors",
    "size",
    "usable",
    "write_atomically",
]
