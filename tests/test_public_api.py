"""What the package offers, and what importing it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import holdfast
from holdfast import cells, language

PUBLIC = [
    "Cell",
    "CellError",
    "Explanation",
    "Forecaster",
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "LayerTrace",
    "RNN",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "SLSTM",
    "SLSTMCell",
    "SequenceClassifier",
    "SequenceRegressor",
    "Stream",
    "Trace",
    "cells",
    "convert",
    "explain",
    "language",
    "load",
    "tasks",
]
# Nobody makes these oneself: they are what a call returns, or raises.
WITHOUT_EXAMPLE = {"CellError", "Explanation", "LayerTrace", "Trace"}
# Needed by the command line, by drawing, by an application or by the tests, but not for a layer.
NOT_IMPORTED = [
    "IPython",
    "datasets",
    "fsspec",
    "hatchling",
    "ipywidgets",
    "keras",
    "matplotlib",
    "mido",
    "music21",
    "onnx",
    "onnxruntime",
    "pandas",
    "pytest",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "tokenizers",
    "tomli_w",
    "torchaudio",
    "torchvision",
    "transformers",
    "triton",
    "typer",
]


def offered(module: Any) -> dict[str, Any]:
    """The public classes and functions of a module."""
    return {n: getattr(module, n) for n in module.__all__ if not inspect.ismodule(getattr(module, n))}


EVERYTHING = {
    f"{module.__name__}.{name}": found
    for module in (holdfast, language, cells)
    for name, found in offered(module).items()
}


def test_the_public_names_are_these() -> None:
    assert sorted(holdfast.__all__) == PUBLIC


@pytest.mark.parametrize("module", [holdfast, language, cells], ids=lambda module: module.__name__)
def test_every_name_is_there_once(module: Any) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    assert not [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_public_class_and_function_is_documented(name: str) -> None:
    found = EVERYTHING[name]
    assert inspect.isclass(found) or callable(found)
    text = found.__doc__  # not inspect.getdoc, which would take a base class's
    assert text
    assert len(text.splitlines()[0]) > 10


@pytest.mark.parametrize("name", sorted(offered(holdfast)))
def test_the_documentation_has_an_example_where_there_is_something_to_do(name: str) -> None:
    shown = ">>>" in (getattr(holdfast, name).__doc__ or "")
    assert shown == (name not in WITHOUT_EXAMPLE)


def test_names_without_an_example_are_public_names() -> None:
    assert set(holdfast.__all__) >= WITHOUT_EXAMPLE


def imported_by(statements: str) -> set[str]:
    """The modules that a fresh process has after some statements."""
    program = f"import json, sys; {statements}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_importing_a_layer_imports_nothing_that_it_does_not_need() -> None:
    imported = imported_by("from holdfast import LSTM")
    assert "torch" in imported
    assert not {name.split(".")[0] for name in imported} & set(NOT_IMPORTED)


def test_importing_the_package_alone_does_not_import_torch() -> None:
    assert not imported_by("import holdfast; holdfast.cells.LSTM; holdfast.Cell; dir(holdfast)") & {"torch", "numpy"}


@pytest.mark.parametrize("order", ["holdfast, torch", "torch, holdfast"])
def test_torch_knows_the_layers_and_operators_after_the_package_and_torch_in_either_order(order: str) -> None:
    """`torch.load(weights_only=True)` and `torch.export.load` find them by what is imported."""
    known = "torch.ops.holdfast.recurrence; assert holdfast.LSTM in torch.serialization.get_safe_globals()"
    assert "holdfast.layers.saving" in imported_by(f"import {order}; {known}")


def test_importing_does_not_bring_the_compiler_of_torch() -> None:
    """The command line imports all of the package that importing the package does."""
    loaded = "import holdfast.cli.fit, holdfast.cli.use, holdfast.cli.lab, holdfast.cli.look, holdfast.cli.demo"
    assert "torch._dynamo" not in imported_by(loaded)
