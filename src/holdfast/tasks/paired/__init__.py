"""What tasks share that read one text and write another: batches, the loss, measuring it, and what is looked at."""

from .attention import attention, attention_pictures
from .batches import Batch, Epoch, batch_of, learnable, side_by_side, sources_together
from .memory import most_alike
from .options import PairedOptions
from .problem import PairedProblem, losses, nats_of

__all__ = [
    "Batch",
    "Epoch",
    "PairedOptions",
    "PairedProblem",
    "attention",
    "attention_pictures",
    "batch_of",
    "learnable",
    "losses",
    "most_alike",
    "nats_of",
    "side_by_side",
    "sources_together",
]
