"""How far translations are from those that were wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.extras import require


def scores(wanted: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """BLEU (Papineni 2002) and chrF (Popović 2015) by sacreBLEU, and the share of translations that are the same.

    >>> scores(["the cat sat on the mat"], ["the cat sat on the mat"])
    {'bleu': 100.0, 'chrf': 100.0, 'exact': 1.0}

    Args:
        wanted: the translations that were wanted.
        found: those that were made.
    """
    bleu, chrf = _metrics()
    references = [list(wanted)]
    return {
        "bleu": round(bleu.corpus_score(list(found), references).score, 4),
        "chrf": round(chrf.corpus_score(list(found), references).score, 4),
        "exact": sum(one == other for one, other in zip(wanted, found, strict=True)) / len(wanted),
    }


def signatures() -> str:
    """What was measured how, as sacreBLEU says it.

    >>> signatures().startswith("BLEU: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    True
    """
    named = []
    for name, metric in zip(("BLEU", "chrF"), _metrics()):
        metric.corpus_score(["a"], [["a"]])  # it knows how many references there are when it has seen some
        named.append(f"{name}: {metric.get_signature()}")
    return "; ".join(named)


def sentence_score(wanted: str, found: str) -> float:
    """chrF of one translation, 0 to 100.

    >>> sentence_score("the cat", "the cat")
    100.0
    """
    return float(_metrics()[1].sentence_score(found, [wanted]).score)


def _metrics() -> tuple[Any, Any]:
    metrics = require("sacrebleu.metrics", "translate")
    return metrics.BLEU(force=True), metrics.CHRF()  # force: no warnings of data that come in tokens, as dialogues do
