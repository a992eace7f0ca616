"""`holdfast forecast`, `backtest` and `detect`: what a trained forecaster is for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from holdfast.extras import require
from holdfast.tasks import load
from holdfast.tasks.forecasting import Forecaster

from .devices import Device
from .errors import Refused
from .results import print_measures

_RUN = typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)
_DATA = typer.Argument(metavar="[DATA]...", help="CSV or Parquet files; default: the run's own.", show_default=False)
_OUT = typer.Option("--out", metavar="FILE", help="A file that ends in .csv or .parquet; default: the terminal.")
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
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Forecast what comes after the last known values.

    Rows of DATA whose target is empty say what is known of the future, in the columns that were named so.
    """
    _check(out)
    forecaster = _forecaster(run, "forecast", device)
    table = _refusing(lambda: forecaster.predict(horizon or None, data or None))
    if picture is not None:
        picture.write_text(forecaster.picture(horizon or None, data or None), encoding="utf-8")
    _write(table, out, as_json)


def backtest(
    run: Annotated[Path, _RUN],
    data: Annotated[Optional[list[str]], _DATA] = None,  # noqa: UP045
    windows: Annotated[
        int, typer.Option("--windows", min=0, metavar="N", help="The last N of each series; 0: all that fit.")
    ] = 0,
    step: Annotated[int, typer.Option("--step", min=0, metavar="N", help="From one to the next; 0: the horizon.")] = 0,
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Forecast the past, and say how good that was.

    Of the run's own data the model has learned from a part: there the measures flatter it. Rows that it has not seen
    show what it is worth.
    """
    _check(out)
    forecaster = _forecaster(run, "backtest", device)
    table, measures = _refusing(lambda: forecaster.backtest(data or None, windows, step))
    if out is not None:
        _write(table, out, False)
    if as_json:
        typer.echo(json.dumps({"task": "forecast", **measures}))
    else:
        print_measures("forecast, backtest", measures)


def detect(
    run: Annotated[Path, _RUN],
    data: Annotated[Optional[list[str]], _DATA] = None,  # noqa: UP045
    level: Annotated[
        float, typer.Option("--level", metavar="X", help="Flag what is less likely than 1 in 100 at 99.")
    ] = 99.0,
    every: Annotated[bool, typer.Option("--all", help="Show every point, not only those that are flagged.")] = False,
    out: Annotated[Optional[Path], _OUT] = None,  # noqa: UP045
    as_json: Annotated[bool, _JSON] = False,
    device: Device = "cpu",
) -> None:
    """Find points that a forecaster would not have expected."""
    _check(out)
    forecaster = _forecaster(run, "detect", device)
    table = _refusing(lambda: forecaster.detect(data or None, level))
    flagged = int(table["anomaly"].sum())
    _write(table if every else table[table["anomaly"]], out, as_json)
    typer.echo(f"{flagged:,} of {len(table):,} points are unusual at a level of {level:g} %", err=True)


def _forecaster(run: Path, what: str, device: str) -> Forecaster:
    found = load(run, device)
    if not isinstance(found, Forecaster):
        raise Refused(f"{what} needs a run of the task forecast")
    return found


def _refusing(made: Any) -> Any:
    """What is made, or one line where an argument is out of its bounds."""
    try:
        return made()
    except ValueError as error:
        raise Refused(str(error)) from None


def _check(out: Path | None) -> None:
    """Refuse a file of another kind before there is much work."""
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise Refused(f"--out must end in .csv or .parquet; got {out}")
    if out is not None and not out.absolute().parent.is_dir():
        raise Refused(f"--out: there is no folder {out.parent}")


def _write(table: Any, out: Path | None, as_json: bool) -> None:
    """A table into a file, or onto the terminal as CSV."""
    require("pandas", "forecast")
    if out is not None:
        table.to_parquet(out) if out.suffix == ".parquet" else table.to_csv(out, index=False)
        if not as_json:
            typer.echo(f"{len(table):,} rows are in {out}", err=True)
    if as_json:
        typer.echo(
            json.dumps({"task": "forecast", "rows": json.loads(table.to_json(orient="records", date_format="iso"))})
        )
    elif out is None:
        table.to_csv(sys.stdout, index=False)
