"""How pairs are measured, and what the loop makes small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.data.pairs import Pairs, TextPairs
from holdfast.models import EncoderDecoder, Sampling
from holdfast.tasks.dialogue import Manners
from holdfast.tasks.dialogue.run import replies
from holdfast.tasks.paired import PairedOptions, PairedProblem, attention, nats_of
from holdfast.tasks.translation.run import Translator
from holdfast.training import Devices


def test_the_nats_of_a_part_are_those_of_its_pairs_one_by_one(part: TextPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(sources=14, embedding=8, hidden=12).double().eval()
    monkeypatch.setattr("holdfast.tasks.paired.problem._STEPS", 30)
    found = nats_of(model, part, np.arange(60))
    for k in range(0, 60, 7):
        source, target = torch.from_numpy(part.source(k))[:, None], [*part.target(k).tolist(), model.end]
        before = torch.tensor([model.end, *target[:-1]])[:, None]
        memory = model.read(source, torch.tensor([len(source)]))
        logs = model.log_probabilities(model(memory, before).features)[:, 0]
        assert found[k] == pytest.approx(-logs[range(len(target)), target].sum().item(), rel=1e-9)


class _Seen(Exception):
    """The device that the model was given tensors on."""


def _seen(model: EncoderDecoder, source: Tensor, lengths: Tensor) -> None:
    raise _Seen(source.device, lengths.device)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, pairs: nats_of(model, pairs.parts["valid"], np.arange(2)),
        lambda model, pairs: attention(model, *pairs.encodings, "eins", "one"),
        lambda model, pairs: Translator(model, *pairs.encodings, (5, 5)).translate(["eins"]),
        lambda model, pairs: Translator(model, *pairs.encodings, (5, 5)).translate(["eins"], sampling=Sampling()),
        lambda model, pairs: replies(model, pairs.encodings[0], ["eins"], Manners(), 0, 5),
    ],
    ids=["nats", "attention", "beam", "draw", "reply"],
)
def test_what_a_model_reads_is_where_the_model_is(
    use: Callable[[EncoderDecoder, Pairs], object], pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EncoderDecoder(sources=pairs.encodings[0].size, embedding=8, hidden=12)
    elsewhere = torch.device("meta")
    monkeypatch.setattr(EncoderDecoder, "device", elsewhere)
    monkeypatch.setattr(EncoderDecoder, "read", _seen)
    monkeypatch.setattr("holdfast.models.seq2seq_search.limits", lambda lengths: torch.full((1,), 3))
    with pytest.raises(_Seen) as found:
        use(model, pairs)
    assert found.value.args == (elsewhere, elsewhere)


def test_each_token_counts_the_same_in_whatever_batch_it_stands(pairs: Pairs) -> None:
    torch.manual_seed(0)
    part = pairs.parts["train"]
    model = EncoderDecoder(sources=pairs.encodings[0].size, embedding=8, hidden=12).double()
    options = PairedOptions(batch_size=6, smoothing=0.0)
    problem = PairedProblem("nats", pairs, options, Devices(torch.device("cpu")), lambda _: {})
    batches = problem.epoch(0)
    assert len({len(batch.before) for batch in batches}) > 1, "some are of short targets, some of long ones"
    values = [problem.loss(model, batch, ()).value.item() for batch in batches]
    tokens = (part.lengths[1] + 1).sum()
    assert np.mean(values) == pytest.approx(nats_of(model, part, np.arange(60)).sum() / tokens, rel=1e-6)


def test_the_smoothing_that_is_asked_for_is_learned_with_and_not_shown(pairs: Pairs) -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(sources=pairs.encodings[0].size, embedding=8, hidden=12).double()
    plain, smooth = (
        PairedProblem("nats", pairs, options, Devices(torch.device("cpu")), lambda _: {})
        for options in (PairedOptions(batch_size=6, smoothing=smoothing) for smoothing in (0.0, 0.25))
    )
    batch = plain.epoch(0)[0]
    features = model(model.read(batch.source, batch.lengths), batch.before).features[batch.there]
    spread = -model.log_probabilities(features).mean(1)  # (N,)
    ours, theirs = (problem.loss(model, batch, ()) for problem in (smooth, plain))
    share = 6 * (pairs.parts["train"].lengths[1] + 1).mean()  # tokens of a typical batch
    wanted = 0.75 * theirs.value.item() + 0.25 * spread.sum().item() / share
    assert ours.value.item() == pytest.approx(wanted, rel=1e-9)
    assert ours.shown.item() == theirs.shown.item()
