"""Which engine runs a call, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import holdfast
from holdfast.engines import operator, triton
from holdfast.engines.choose import ENGINES, STEPWISE, TRITON, UNTRIED, Choice, _chosen, check_name
from holdfast.engines.choose import choose as choose_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
PLAIN = holdfast.LSTM(3, 5).program.text()
OPENED = holdfast.LSTM(3, 5, peephole=True).program.text()
FACTS = ("traced", "lengths", "reset")
MISSING = "no Triton here"


def choose(asked: str, program: str, device: torch.device, dtype: torch.dtype, hidden: int = 5, **facts: Any) -> Choice:
    return choose_for(asked, program, device, dtype, hidden, **facts)


@pytest.fixture
def without_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(triton, "refusal", lambda device, dtype: MISSING)
    _chosen.cache_clear()
    yield
    _chosen.cache_clear()


@pytest.fixture
def with_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(triton, "refusal", lambda device, dtype: None)
    _chosen.cache_clear()
    yield
    _chosen.cache_clear()


@pytest.mark.parametrize("program", [PLAIN, OPENED], ids=["plain", "with options"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("fact", [*FACTS, None])
def test_on_a_cpu_it_is_the_compiled_engine_for_everything(program: str, dtype: torch.dtype, fact: str | None) -> None:
    engine, reason = choose("auto", program, CPU, dtype, **{fact: True} if fact else {})
    assert engine == "llvm"
    assert reason == "compiled for this machine from the equations above"


def test_float16_on_a_cpu_goes_step_by_step_and_says_what_that_costs() -> None:
    engine, reason = choose("auto", PLAIN, CPU, torch.float16)
    assert engine == "reference"
    assert reason.startswith(f"{STEPWISE}; llvm cannot serve this call: ")
    assert reason.endswith("the input is float16")
    assert "ten times" in STEPWISE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda: holdfast.LSTM(3, 5),
        lambda: holdfast.LSTM(3, 5, proj_size=2, bias=False),
        lambda: holdfast.GRU(3, 5),
        lambda: holdfast.RNN(3, 5, nonlinearity="relu"),
    ],
    ids=["LSTM", "projected LSTM", "GRU", "RNN"],
)
@pytest.mark.usefixtures("with_triton")
def test_on_a_gpu_a_plain_layer_goes_to_cudnn(make: Any, dtype: torch.dtype) -> None:
    engine, reason = choose("auto", make().program.text(), CUDA, dtype)
    assert engine == "vendor"
    assert "cuDNN" in reason
    assert "no second derivatives" in reason
    assert reason.endswith("lengths, reset or trace run in Triton's kernels")


@pytest.mark.usefixtures("without_triton")
def test_without_triton_it_says_that_other_calls_go_step_by_step() -> None:
    engine, reason = choose("auto", PLAIN, CUDA, torch.float32)
    assert engine == "vendor"
    assert reason.endswith(f"lengths, reset or trace run in {STEPWISE}")


@pytest.mark.usefixtures("with_triton")
@pytest.mark.parametrize("fact", FACTS)
def test_on_a_gpu_a_call_beyond_cudnn_goes_to_triton(fact: str) -> None:
    assert choose("auto", PLAIN, CUDA, torch.float32, **{fact: True}) == ("triton", TRITON)


@pytest.mark.usefixtures("with_triton")
def test_on_a_gpu_a_cell_beyond_cudnn_goes_to_triton() -> None:
    assert choose("auto", OPENED, CUDA, torch.bfloat16) == ("triton", TRITON)


@pytest.mark.usefixtures("with_triton")
@pytest.mark.parametrize(
    ("options", "largest"),
    [
        ({}, 64),
        ({"heads": 4}, 4 * 64),
        ({"heads": 4, "layer_norm": True}, 64),  # these lead from one head to the others
        ({"heads": 4, "proj_size": 4}, 64),
    ],
    ids=["one head", "heads", "heads with a layer norm", "heads with a projection"],
)
def test_programs_that_wait_for_each_other_run_only_where_triton_is_asked_for_by_name(
    options: Any, largest: int
) -> None:
    program = holdfast.LSTM(3, 8, peephole=True, **options).program.text()
    for hidden in (4, largest):
        assert choose("auto", program, CUDA, torch.float32, hidden) == ("triton", TRITON)
    for hidden in (largest + 4, 4096):
        engine, reason = choose("auto", program, CUDA, torch.float32, hidden)
        assert engine == "reference"
        assert reason.startswith(STEPWISE)
        assert reason.endswith(f"; {UNTRIED}")
        assert 'engine="triton" is there to be tried' in UNTRIED
        assert choose("triton", program, CUDA, torch.float32, hidden) == ("triton", "asked for by name")


@pytest.mark.usefixtures("with_triton")
def test_cudnns_reason_says_where_other_calls_of_a_large_layer_run() -> None:
    engine, reason = choose("auto", PLAIN, CUDA, torch.float32, hidden=65)
    assert engine == "vendor"
    assert reason.endswith(f"lengths, reset or trace run in {STEPWISE}; {UNTRIED}")


@pytest.mark.usefixtures("with_triton")
def test_on_a_cpu_triton_runs_only_where_it_is_asked_for_by_name() -> None:
    assert choose("auto", OPENED, CPU, torch.float16).engine == "reference"
    assert choose("triton", OPENED, CPU, torch.float16).engine == "triton"


@pytest.mark.usefixtures("without_triton")
@pytest.mark.parametrize("fact", FACTS)
def test_without_triton_a_call_beyond_cudnn_goes_step_by_step_and_says_what_that_costs(fact: str) -> None:
    engine, reason = choose("auto", PLAIN, CUDA, torch.float32, **{fact: True})
    assert engine == "reference"
    assert reason.startswith(f"{STEPWISE}; vendor cannot serve this call: ")
    assert reason.endswith(f"given was {fact.removesuffix('d')}; triton cannot serve this call: {MISSING}")


@pytest.mark.usefixtures("without_triton")
def test_without_triton_a_cell_beyond_cudnn_goes_step_by_step_and_says_what_that_costs() -> None:
    engine, reason = choose("auto", OPENED, CUDA, torch.float32)
    assert engine == "reference"
    assert reason.startswith(STEPWISE)
    assert reason.endswith(f"the equations of this LSTM are others; triton cannot serve this call: {MISSING}")


@pytest.mark.parametrize("device", ["meta", "mps", "xpu"])
def test_on_any_other_device_it_goes_step_by_step(device: str) -> None:
    engine, reason = choose("auto", PLAIN, torch.device(device), torch.float32)
    assert engine == "reference"
    assert reason.startswith(STEPWISE)
    assert reason.endswith(f"the input is on {device}")


@pytest.mark.parametrize(
    ("asked", "device", "dtype"),
    [
        ("reference", CPU, torch.float32),
        ("reference", CUDA, torch.bfloat16),
        ("reference", torch.device("meta"), torch.float32),
        ("llvm", CPU, torch.float64),
        ("llvm", CPU, torch.bfloat16),
        ("vendor", CPU, torch.float32),
        ("vendor", CUDA, torch.float16),
    ],
)
def test_an_engine_asked_for_by_name_is_given(asked: str, device: torch.device, dtype: torch.dtype) -> None:
    assert choose(asked, PLAIN, device, dtype) == (asked, "asked for by name")


@pytest.mark.parametrize(
    ("asked", "program", "device", "dtype", "facts", "message"),
    [
        ("llvm", PLAIN, CUDA, torch.float32, {}, "it runs on the CPU, the input is on cuda:0"),
        ("llvm", PLAIN, CPU, torch.float16, {}, "float32, float64 and bfloat16, the input is float16"),
        (
            "vendor",
            OPENED,
            CPU,
            torch.float32,
            {},
            "a plain LSTM, GRU or RNN .*; the equations of this LSTM are others",
        ),
        ("vendor", PLAIN, CPU, torch.float16, {}, "float32 and float64, the input is float16"),
        ("vendor", PLAIN, CUDA, torch.float32, {"reset": True}, "without trace, lengths .* and reset; given was reset"),
    ],
)
def test_one_that_cannot_serve_is_an_error_that_says_why(
    asked: str, program: str, device: torch.device, dtype: torch.dtype, facts: Any, message: str
) -> None:
    for _ in range(2):
        with pytest.raises(NotImplementedError, match=f"^engine='{asked}' cannot serve this call: .*{message}$"):
            choose(asked, program, device, dtype, **facts)


def test_unknown_names_are_refused() -> None:
    for name in ENGINES:
        check_name(name)
    expected = "^engine must be one of auto, reference, llvm, triton, vendor; got 'warp'$"
    with pytest.raises(ValueError, match=expected):
        check_name("warp")
    with pytest.raises(ValueError, match=expected):
        choose("warp", PLAIN, CPU, torch.float32)


def test_a_choice_is_remembered() -> None:
    assert choose("auto", PLAIN, CPU, torch.float32) is choose("auto", PLAIN, CPU, torch.float32)


def test_setting_an_engine_checks_its_name_only_and_calling_the_rest() -> None:
    layer = holdfast.LSTM(3, 5, peephole=True)
    layer.engine = "vendor"
    with pytest.raises(NotImplementedError, match="engine='vendor' cannot serve this call"):
        layer(torch.randn(7, 2, 3))
    layer.engine = "llvm"
    layer(torch.randn(7, 2, 3))
    layer.bfloat16()(torch.randn(7, 2, 3, dtype=torch.bfloat16))
    with pytest.raises(NotImplementedError, match=r"engine='llvm' cannot serve this call: .* the input is float16"):
        layer.half()(torch.randn(7, 2, 3, dtype=torch.float16))
    with pytest.raises(NotImplementedError, match="the input is float16"):
        holdfast.GRUCell(3, 5, dtype=torch.float16, engine="llvm")(torch.randn(2, 3, dtype=torch.float16))


def test_autocast_counts() -> None:
    layer, x = holdfast.LSTM(3, 5, engine="llvm"), torch.randn(7, 2, 3)
    layer(x)
    with torch.autocast("cpu", dtype=torch.float16), pytest.raises(NotImplementedError, match="is float16"):
        layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x)[0].dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.double()(x.double())[0].dtype == torch.float64


def test_the_operator_asks_again_because_an_exported_program_may_have_been_moved() -> None:
    layer = holdfast.RNN(3, 4, dtype=torch.float16)
    x, state = torch.randn(5, 2, 3, dtype=torch.float16), [torch.zeros(2, 4, dtype=torch.float16)]
    arguments = (x, state, [], list(layer.parameters()), [], None, None, layer.program.text())
    operator.recurrence(*arguments, "reference", False, False, False)
    with pytest.raises(NotImplementedError, match=r"engine='llvm' cannot serve this call: .* the input is float16"):
        operator.recurrence(*arguments, "llvm", False, False, False)


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("asked", ENGINES)
def test_the_choice_compiles_and_depends_on_no_shape(asked: str) -> None:
    if asked == "triton":
        pytest.importorskip("triton")
    torch._dynamo.reset()
    graphs = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    layer = holdfast.LSTM(3, 5, engine=asked)
    compiled: Any = torch.compile(layer, fullgraph=True, backend=backend)
    with torch.no_grad():
        for shape in ((5, 2, 3), (7, 4, 3), (9, 3, 3)):
            x = torch.randn(shape)
            assert torch.equal(compiled(x)[0], layer(x)[0])
    assert graphs <= 2
    if asked != "auto":
        layer.engine = "auto"
        assert compiled(x)[0].shape == (9, 3, 5)


def test_compiling_a_call_that_the_engine_cannot_serve_is_an_error_too() -> None:
    torch._dynamo.reset()
    layer = holdfast.LSTM(3, 5, peephole=True, engine="vendor")
    with pytest.raises(NotImplementedError, match="engine='vendor' cannot serve this call"):
        torch.compile(layer, backend="eager")(torch.randn(5, 2, 3))
