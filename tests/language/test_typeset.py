"""Equations from programs."""

from __future__ import annotations

from holdfast import cells
from holdfast.language import Options, equations, latex, trace


def test_the_lstm_reads_like_the_textbook() -> None:
    assert equations(trace(cells.LSTM())) == [
        "i[t] = σ(W_i x[t] + U_i h[t-1] + b_i)",
        "f[t] = σ(W_f x[t] + U_f h[t-1] + b_f)",
        "g[t] = tanh(W_g x[t] + U_g h[t-1] + b_g)",
        "c[t] = f[t] ⊙ c[t-1] + i[t] ⊙ g[t]",
        "o[t] = σ(W_o x[t] + U_o h[t-1] + b_o)",
        "h[t] = o[t] ⊙ tanh(c[t])",
    ]


def test_both_forms_of_the_gru_keep_their_brackets() -> None:
    assert equations(trace(cells.GRU()))[2:] == [
        "n[t] = tanh(W_n x[t] + b_ih,n + r[t] ⊙ (U_n h[t-1] + b_hh,n))",
        "h[t] = (1 - z[t]) ⊙ n[t] + z[t] ⊙ h[t-1]",
    ]
    assert equations(trace(cells.GRU(reset_after=False)))[2] == "n[t] = tanh(W_n x[t] + U_n (r[t] ⊙ h[t-1]) + b_n)"


def test_without_bias_none_is_written() -> None:
    assert equations(trace(cells.RNN(), Options(bias=False))) == ["h[t] = tanh(W_h x[t] + U_h h[t-1])"]


def test_layer_norm_is_written_as_one_function() -> None:
    cell = cells.LSTM()
    cell.layer_norm = True
    lines = equations(trace(cell))
    assert lines[0] == "i[t] = σ(LN(W x[t])_i + LN(U h[t-1])_i + b_i)"
    assert lines[5] == "shown[t] = weight_ln_c ⊙ LN(c[t]) + bias_ln_c"


def test_layer_norm_of_a_second_product_names_the_rows_that_are_normalised_together() -> None:
    cell = cells.GRU(reset_after=False)
    cell.layer_norm = True
    lines = equations(trace(cell))
    assert lines[0] == "r[t] = σ(LN(W x[t])_r + LN(U_rz h[t-1])_r + b_r)"
    assert lines[2] == "n[t] = tanh(LN(W x[t])_n + LN(U_n (r[t] ⊙ h[t-1]))_n + b_n)"


def test_what_surrounds_the_step_is_written_too() -> None:
    lines = equations(trace(cells.LSTM(), Options(projection=True, zoneout=(0.25, 0.0))))
    assert lines[-2:] == ["h_new[t] = o[t] ⊙ tanh(c[t])", "h[t] = 0.25 ⊙ h[t-1] + 0.75 ⊙ W_hr h_new[t]"]
    training = equations(trace(cells.RNN(), Options(zoneout=(0.25, 0.0), recurrent_dropout=0.5), training=True))
    assert training == [
        "h_new[t] = tanh(W_h x[t] + U_h (h[t-1] ⊙ recurrent_dropout / 0.5) + b_h)",
        "h[t] = zoneout_h[t] ⊙ h[t-1] + (1 - zoneout_h[t]) ⊙ h_new[t]",
    ]


def test_latex_has_fractions_and_cases() -> None:
    text = latex(trace(cells.SLSTM()))
    assert text.startswith("\\begin{aligned}\n")
    assert text.endswith("\n\\end{aligned}")
    assert r"\begin{cases}" in text
    assert r"\frac{c_t}{n_t}" in text
    assert text.count("{") == text.count("}")


def test_numbers_of_any_size_can_be_written() -> None:
    from tests.language.test_trace import make

    for number, written in ((1e300, "1e+300"), (float("inf"), "inf"), (0.1, "0.1"), (3.0, "3"), (-2.0, "-2")):
        [line] = equations(trace(make(lambda g, s, n=number: s.h * n)))
        assert line == f"h[t] = h[t-1] ⊙ {written}"


def test_a_state_that_stays_as_it_is_gets_an_equation() -> None:
    from tests.language.test_trace import make

    assert equations(trace(make(lambda g, s: (g.a, s.k), states=("h", "k")))) == [
        "h[t] = W_a x[t] + U_a h[t-1] + b_a",
        "k[t] = k[t-1]",
    ]
