import math

import pytest
import torch
from torch import Tensor

import holdfast
from holdfast.layers import LayerTrace
from holdfast.microscope import MicroscopeError, dead_units, record, saturation, time_constants


def seen(**series: Tensor) -> LayerTrace:
    return LayerTrace("l0", {k: v for k, v in series.items() if k != "h"}, {"h": series.get("h", torch.zeros(4, 2, 3))})


def test_a_constant_forget_gate_implies_its_time_constant() -> None:
    f = torch.tensor([0.5, 0.9, 0.99]).expand(4, 2, 3)
    assert time_constants(seen(f=f)).tolist() == pytest.approx([1 / math.log(2), 9.4912, 99.4992], rel=1e-4)


def test_what_is_left_after_the_time_constant_is_one_part_in_e() -> None:
    f = torch.rand(50, 1, 2) * 0.5 + 0.5
    tau = time_constants(seen(f=f))
    left = f.double().log().mean((0, 1)) * tau
    assert left.exp().tolist() == pytest.approx([1 / math.e] * 2)


def test_a_gate_that_is_always_open_keeps_for_ever() -> None:
    assert time_constants(seen(f=torch.ones(4, 2, 3))).tolist() == [math.inf] * 3


def test_a_gru_keeps_by_z_and_any_gate_can_be_named() -> None:
    z = torch.full((4, 2, 3), 0.9)
    assert torch.equal(time_constants(seen(r=z / 2, z=z)), time_constants(seen(f=z)))
    assert torch.allclose(time_constants(seen(r=z, z=z / 2), gate="r"), time_constants(seen(f=z)))
    with pytest.raises(MicroscopeError, match="a gate that keeps is needed; there are i, o"):
        time_constants(seen(i=z, o=z))
    with pytest.raises(MicroscopeError, match="a gate that keeps is needed; there are f"):
        time_constants(seen(f=z), gate="k")


def test_saturation_counts_the_steps_beyond_a_tenth_and_nine_tenths() -> None:
    f = torch.tensor([0.05, 0.5, 0.95, 0.99]).view(4, 1, 1).expand(4, 2, 3)
    found = saturation(seen(f=f, g=2 * f - 1))
    assert list(found) == ["f"]
    assert found["f"].low.tolist() == [0.25] * 3
    assert found["f"].high.tolist() == [0.5] * 3


def test_a_unit_that_never_moves_is_dead_whatever_its_value() -> None:
    h = torch.rand(20, 3, 4)
    h[..., 1] = 0.7
    h[..., 3] = 0.0
    h[4, 1, 3] = 1e-5
    assert dead_units(seen(h=h)) == [1, 3]


def test_the_rescaled_gate_of_an_slstm_has_no_time_constants() -> None:
    layer = record(holdfast.SLSTM(3, 4), torch.randn(7, 2, 3))["l0"]
    with pytest.raises(MicroscopeError, match="a gate that keeps is needed"):
        time_constants(layer)
    assert time_constants(layer, "f").shape == (4,)  # who asks for it by name gets what it says
