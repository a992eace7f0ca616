"""The example of a cell of one's own: it does what it says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from examples.own_cell import MinimalGatedUnit, train

import holdfast
from tests.support import assert_close

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "own_cell.py"
EQUATIONS = [
    "f[t] = σ(W_f x[t] + U_f h[t-1] + b_f)",
    "n[t] = tanh(W_n x[t] + b_ih,n + f[t] ⊙ (U_n h[t-1] + b_hh,n))",
    "h[t] = (1 - f[t]) ⊙ h[t-1] + f[t] ⊙ n[t]",
]


def make() -> holdfast.Recurrent:
    return holdfast.Recurrent(MinimalGatedUnit(), 1, 16)


def test_the_cell_is_a_dozen_lines_at_most() -> None:
    source = SCRIPT.read_text()
    (cell,) = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "MinimalGatedUnit"
    ]
    documentation = {
        line
        for node in ast.walk(cell)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = source.splitlines()
    numbers = range(cell.body[0].lineno, (cell.end_lineno or 0) + 1)
    code = [lines[k - 1] for k in numbers if k not in documentation and lines[k - 1].split("#")[0].strip()]
    assert 5 <= len(code) <= 12, code


def test_its_equations_read_as_they_are_written() -> None:
    explained = holdfast.explain(make())
    assert explained.equations == EQUATIONS
    assert explained.parameters == 2 * 16 * (1 + 16) + 2 * 2 * 16


def test_it_computes_its_equations() -> None:
    layer = holdfast.Recurrent(MinimalGatedUnit(), 3, 5, dtype=torch.float64)
    x, h = torch.randn(4, 2, 3, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64)
    output, _ = layer(x, h)
    state = h[0]
    for step, got in zip(x, output):
        f_in, n_in = (step @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(2, -1)
        f_back, n_back = (state @ layer.weight_hh_l0.T + layer.bias_hh_l0).chunk(2, -1)
        f = torch.sigmoid(f_in + f_back)
        n = torch.tanh(n_in + f * n_back)
        state = (1 - f) * state + f * n
        assert_close(got, state)


def test_it_trains() -> None:
    losses = train(make())
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < 0.7 * first, (first, last)


def test_its_gates_can_be_seen() -> None:
    layer = make()
    x = torch.randn(7, 4, 1)
    (record,) = layer.trace(x).layers
    assert list(record.gates) == ["f", "n"]
    assert record.gates["f"].shape == record.states["h"].shape == (7, 4, 16)
    assert record.gates["f"].min() > 0
    assert record.gates["f"].max() < 1
    assert_close(record.states["h"], layer(x)[0])


def test_it_compiles_to_one_graph() -> None:
    layer = make()
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(7, 4, 1)
    gradients = []
    for run in (compiled, layer):
        layer.zero_grad()
        run(x)[0].square().sum().backward()
        gradients.append([weight.grad for weight in layer.parameters()])
    assert_close(compiled(x)[0], layer(x)[0])
    for got, expected in zip(*gradients):
        assert_close(got, expected)


def test_it_exports_with_dynamic_length() -> None:
    layer = make()
    steps, batch = torch.export.Dim("steps"), torch.export.Dim("batch")
    exported = torch.export.export(
        layer, (torch.randn(10, 4, 1),), dynamic_shapes={"input": {0: steps, 1: batch}}
    ).module()
    for shape in ((23, 3, 1), (2, 5, 1)):
        x = torch.randn(shape)
        assert_close(exported(x)[0], layer(x)[0])


@pytest.mark.full  # the tests above have each of its parts
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="the script uses torch.compile's default backend, which needs g++"
)
def test_the_script_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    number = r"(-?\d+\.\d+(?:e[-+]\d+)?)"
    pattern = "\n".join(
        [
            re.escape("Recurrent(MinimalGatedUnit(), 1, 16)"),
            "",
            *(re.escape(f"  {line}") for line in EQUATIONS),
            "",
            "parameters  608",
            r"engine      \w+: .+",
            "",
            f"loss      {number} -> {number}",
            f"gate f    between {number} and {number}",
            f"compiled  differs by {number}",
            f"exported  differs by {number} on another length",
            "",
        ]
    )
    found = re.fullmatch(pattern, done.stdout)
    assert found, done.stdout
    first, last, low, high, compiled, exported = map(float, found.groups())
    assert last < 0.7 * first
    assert 0 <= low < high <= 1
    assert compiled < 1e-5
    assert exported < 1e-5
