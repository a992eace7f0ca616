"""The options of a forecaster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.training import OptionError, TrainingOptions, option, redeclared, size


@dataclass(frozen=True, kw_only=True)
class ForecastOptions(TrainingOptions):
    """A forecaster: which columns it reads, how far it looks back and ahead, and what it is made of.

    What is left at 0, "auto" or nothing is settled by the data when the training begins, and stands in the run's
    config.toml from then on.
    """

    sizes = (64, 128, 256)

    minutes: float = redeclared("minutes", 10.0)
    batch_size: int = redeclared("batch_size", 256)
    learning_rate: float = redeclared("learning_rate", 0.002)

    time: str = option("", "The column of times; by default the one that is called ds, date, time, … or holds dates.")
    target: str = option("", "The column that is forecast; by default y, or, of a wide table, each column of numbers.")
    series: str = option("", "The column that says which series a row is of; by default unique_id, if there is one.")
    past: tuple[str, ...] = option((), "Columns of numbers that are known up to now only.")
    future: tuple[str, ...] = option((), "Columns of numbers that are known of the steps to come too.")
    static: tuple[str, ...] = option((), "Columns, of numbers or texts, that do not change within a series.")
    frequency: str = option("", "Of the steps: h, 15min, D, B, W, MS, …; by default as the times say.")
    horizon: int = option(0, "Steps to forecast; 0: two of the shortest season, or 12.", least=0)
    season: tuple[int, ...] = option(
        (), "Lengths of seasons in steps; by default by the frequency, or as the data show."
    )
    context: int = option(0, "Steps that are read before a forecast; 0: four of the longest season and more.", least=0)
    valid_steps: int = option(
        0,
        "The last steps of each series, for choices, without --valid; 0: a tenth, or the horizon.",
        least=0,
    )

    model: Literal["patches", "steps", "autoregressive"] = option(
        "patches",
        "patches: reads a season at a time and forecasts all steps at once; steps: the same step by step; "
        "autoregressive: draws each step and reads it again.",
    )
    base: Literal["auto", "last", "mixture", "linear"] = option(
        "auto",
        "What the layers add to: the last value, a mixture of it with the seasons before, or a linear forecast; "
        "auto: by the trial.",
    )
    likelihood: Literal["quantiles", "student-t", "negative-binomial"] = option(
        "quantiles", "What is learned of a step: its quantiles, or a distribution's parameters; the last is for counts."
    )
    intervals: tuple[int, ...] = option((50, 80, 90), "Central intervals in per cent, calibrated on validation data.")
    patch: int = option(0, "Steps that the layers read at once; 0: the shortest season.", least=0)
    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    hidden: int = size("Units of a layer", (64, 128, 256))
    layers: int = option(1, "Recurrent layers.", least=1)
    dropout: float = option(0.3, "Before the output, and from layer to layer.", least=0.0, most=0.95)
    calendar: bool = option(True, "Tell the place in the day, week and year, as far as the data have seen it twice.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for interval in self.intervals:
            if not 0 < interval < 100:
                raise OptionError(f"intervals must be per cents from 1 to 99; got {interval}")
        if not self.intervals:
            raise OptionError("intervals must name one at least, such as 90")
        for season in self.season:
            if season < 2:
                raise OptionError(f"a season must have 2 steps at least; got {season}")
        both = set(self.past) & set(self.future)
        if both:
            raise OptionError(f"{sorted(both)[0]} is named both as past and as future: it is one of them")

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles: the ends of the intervals, and the median.

        >>> ForecastOptions(intervals=(80, 90)).levels
        (0.05, 0.1, 0.5, 0.9, 0.95)
        """
        ends = {k for interval in self.intervals for k in (100 - interval, 100 + interval)}
        return tuple(k / 200 for k in sorted(ends | {100}))
