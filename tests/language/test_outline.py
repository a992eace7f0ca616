from holdfast import cells
from holdfast.language import Cell, clip, equations, recur, tanh, trace
from holdfast.language.outline import outline
from holdfast.language.typeset import equation_parts


class Odd(Cell):
    gates = ("a", "b")
    shows = {"a": "gate.a", "b": "gate.b"}

    def step(self, gate, state):  # type: ignore[no-untyped-def]
        return clip(2 - tanh(gate.a) / gate.b.input, -1, 1) + recur(gate.b, gate.a * state.h)


def test_an_lstm_is_drawn_as_in_a_textbook() -> None:
    boxes = {box.node: box for box in outline(trace(cells.LSTM(), shown=True))}
    memory = next(box for box in boxes.values() if box.text == "+")
    kept, written = (boxes[arg] for arg in memory.args)
    assert [boxes[arg].text for arg in kept.args] == ["σ", "c[t-1]"]
    assert [boxes[arg].text for arg in written.args] == ["σ", "tanh"]
    assert sorted(box.text for box in boxes.values() if box.kind == "sum") == ["f", "g", "i", "o"]


def test_numbers_stand_in_the_box_that_uses_them() -> None:
    texts = [box.text for box in outline(trace(Odd()))]
    assert "2 - ·" in texts
    assert "clip(·, -1, 1)" in texts
    assert "/" in texts


def test_a_product_of_what_the_step_computed_reads_it() -> None:
    boxes = {box.node: box for box in outline(trace(Odd()))}
    product = next(box for box in boxes.values() if box.text == "U b")
    assert [boxes[arg].text for arg in product.args] == ["⊙"]


def test_a_layer_norm_is_one_box() -> None:
    cell = cells.LSTM()
    cell.layer_norm = True
    texts = [box.text for box in outline(trace(cell, shown=True))]
    assert texts.count("LN") == 1
    assert not {"sqrt", "mean"} & set(texts)


def test_every_box_comes_after_what_it_reads() -> None:
    for cell in (cells.LSTM(peephole=True), cells.GRU(), cells.SLSTM(), cells.GRU(reset_after=False), Odd()):
        seen: set[int] = set()
        for box in outline(trace(cell, shown=True)):
            assert seen.issuperset(box.args)
            seen.add(box.node)


def test_the_pieces_of_an_equation_make_the_equation() -> None:
    for cell in (cells.LSTM(peephole=True, coupled=True), cells.GRU(), cells.SLSTM(), Odd()):
        program = trace(cell, shown=True)
        assert ["".join(part.text for part in line) for line in equation_parts(program)] == equations(program)


def test_a_value_within_a_sum_is_a_part_of_its_text() -> None:
    program = trace(cells.GRU(reset_after=False), shown=True)
    [line] = [line for line in equation_parts(program) if line[0].text == "n[t]"]
    assert [part.text for part in line] == ["n[t]", " = tanh(", "W_n x[t] + U_n (r[t] ⊙ h[t-1]) + b_n", ")"]
    assert [part.node is None for part in line] == [False, True, False, True]
