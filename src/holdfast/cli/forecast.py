"""`holdfast forecast`, `backtest` and `detect`: what a trained forecaster is for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from holdfast.extras import require
from holdfast.tasks import TASKS, load, verdict
from holdfast.tasks.forecasting import Forecast, Forecaster
from holdfast.training import replaced, write_atomically

from .devices import Device
from .errors import Refused
from .reading import ENCODING, TRUST_PATHS
from .results import print_measures, print_sentence
from .rows import check_out

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)
_DATA = typer.Argument(metavar="[DATA]...", help="CSV or Parquet files; default: the run's own.", show_default=False)
_OUT = typer.Option("--out", metavar="FILE", help="A file that ends in .csv or .parquet; default: the terminal.")
_KINDS = (".csv", ".parquet")
_JSON = typer.Option("--json", help="Print one JSON object.")


def forecast(
    run: Annotated[Path, _RUN],
    data: Annotated[Optional[list[str]], _DATA] = None,  # noqa: UP045
    horizon: Annotated[
        int, typer.Option("--horizon", min=0, metavar="N", help="Steps; 0: as many as the model has learned.")
    ] = 0,
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    picture: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--picture", metavar="FILE", help="Draw some of the forecasts into an SVG file."),
    ] = None,
    encoding: Annotated[str, ENCODING] = "",
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Forecast what comes after the last known values.

    Rows of DATA whose target is empty say what is known of the future, in the columns that were named so.
    """
    check_out(out, _KINDS, data or (), run)
    check_out(picture, (".svg",), data or (), run, "--picture")
    forecaster = _forecaster(run, "forecast", device, trust_paths)
    table = _refusing(lambda: forecaster.predict(horizon or None, data or None))
    if picture is not None:
        write_atomically(picture, forecaster.picture(horizon or None, data or None))
    _write(table, out, as_json)


def backtest(
    run: Annotated[Path, _RUN],
    data: Annotated[Optional[list[str]], _DATA] = None,  # noqa: UP045
    windows: Annotated[
        int, typer.Option("--windows", min=0, metavar="N", help="The last N of each series; 0: all that fit.")
    ] = 0,
    step: Annotated[int, typer.Option("--step", min=0, metavar="N", help="From one to the next; 0: the horizon.")] = 0,
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    encoding: Annotated[str, ENCODING] = "",
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Forecast the past, and say how good that was.

    Of the run's own data the model has learned from a part: there the measures flatter it. Rows that it has not seen
    show what it is worth.
    """
    check_out(out, _KINDS, data or (), run)
    forecaster = _forecaster(run, "backtest", device, trust_paths)
    table, measures = _refusing(lambda: forecaster.backtest(data or None, windows, step))
    if out is not None:
        _write(table, out, False)
    if as_json:
        typer.echo(json.dumps({"task": "forecast", **measures}))
    else:
        baselines = {who: found for who, found in measures.items() if who != "this model"}
        print_sentence(verdict(TASKS["forecast"].standings(measures["this model"], baselines), "these windows"))
        print_measures("forecast, backtest", measures, Forecast.headline)


def detect(
    run: Annotated[Path, _RUN],
    data: Annotated[Optional[list[str]], _DATA] = None,  # noqa: UP045
    level: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--level",
            metavar="X",
            help="Flag what is less likely than 1 in 100 at 99. [default: 99, or as high as the run can tell]",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every point, not only those that are flagged.")] = False,
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    encoding: Annotated[str, ENCODING] = "",
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Find points that a forecaster would not have expected."""
    check_out(out, _KINDS, data or (), run)
    forecaster = _forecaster(run, "detect", device, trust_paths)
    level = forecaster.detected_level() if level is None else level
    table = _refusing(lambda: forecaster.detect(data or None, level))
    flagged = int(table["anomaly"].sum())
    _write(table if every else table[table["anomaly"]], out, as_json)
    typer.echo(f"{flagged:,} of {len(table):,} points are unusual at a level of {level:g} %", err=True)


def _forecaster(run: Path, what: str, device: str, trust_paths: bool) -> Forecaster:
    found = load(run, device, trust_paths)
    if not isinstance(found, Forecaster):
        raise Refused(f"{what} needs a run of the task forecast")
    return found


def _refusing(made: Any) -> Any:
    """What is made, or one line where an argument is out of its bounds."""
    try:
        return made()
    except ValueError as error:
        raise Refused(str(error)) from None


def _write(table: Any, out: Path | None, as_json: bool) -> None:
    """A table into a file, or onto the terminal as CSV."""
    require("pandas", "forecast")
    if out is not None:
        with replaced(out) as beside:
            table.to_parquet(beside) if out.suffix == ".parquet" else table.to_csv(beside, index=False)
        if not as_json:
            typer.echo(f"{len(table):,} rows are in {out}", err=True)
    if as_json:
        typer.echo(
            json.dumps({"task": "forecast", "rows": json.loads(table.to_json(orient="records", date_format="iso"))})
        )
    elif out is None:
        table.to_csv(sys.stdout, index=False)
