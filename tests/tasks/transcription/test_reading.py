"""Sounds are read whole or as they come, and the parts of long ones are joined as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast.data import untold
from holdfast.data.audio import Mel, Recordings
from holdfast.data.strings import Strings
from holdfast.models import Transcriber, halved
from holdfast.tasks.transcription.reading import LONGEST, logs_of, reader_of, segments, written_of

MEL = Mel(rate=2000, bands=12)


def make(bidirectional: bool) -> Transcriber:
    torch.manual_seed(0)
    return Transcriber(symbols=4, bands=12, hidden=8, layers=1, channels=4, bidirectional=bidirectional).eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * MEL.rate)).astype(np.float32)


def whole(model: Transcriber, sound: np.ndarray) -> torch.Tensor:
    frames = MEL(torch.from_numpy(sound))
    with torch.no_grad():
        return model(frames[:, None], torch.tensor([len(frames)]))[0][:, 0]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("seconds", [0.004, 0.7, 9.9])
def test_a_short_sound_is_one_segment_however_its_samples_come(bidirectional: bool, seconds: float) -> None:
    model, sound = make(bidirectional), noise(seconds)
    for size in (1 << 20, 997):
        blocks = [sound[k : k + size] for k in range(0, len(sound), size)]
        (found,) = segments(blocks, model, MEL)
        assert found.begin == 0
        assert torch.allclose(found.logs, whole(model, sound), atol=1e-4)


def test_in_one_direction_a_long_sound_is_read_as_if_it_were_whole() -> None:
    model, sound = make(False), noise(65)
    found = [*segments(np.split(sound, [3, 40_000, 41_001]), model, MEL)]
    assert len(found) > 3
    assert [one.begin for one in found] == np.cumsum([0, *(len(one.logs) for one in found[:-1])]).tolist()
    assert torch.allclose(torch.cat([one.logs for one in found]), whole(model, sound), atol=1e-4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_long_sound_is_cut_where_it_is_quietest(bidirectional: bool) -> None:
    sound = noise(25)
    pauses = [6.5, 14.5]  # seconds; the second is 8 after the first
    for pause in pauses:
        sound[int(pause * MEL.rate) : int((pause + 0.4) * MEL.rate)] *= 1e-3
    found = [*segments([sound], make(bidirectional), MEL)]
    step = 4 * MEL.hop
    for pause, one in zip(pauses, found[1:]):
        assert pause <= one.begin * step <= pause + 0.4
    assert all(len(one.logs) * step <= LONGEST for one in found)
    frames = MEL.frames(len(sound))
    assert sum(len(one.logs) for one in found) == halved(halved(frames))


def test_what_comes_is_known_before_its_segment_ends_in_one_direction_only() -> None:
    sound = noise(3)
    for bidirectional in (True, False):
        reader = reader_of(make(bidirectional), MEL)
        assert reader.push(sound) == []
        known = reader.unfinished().logs
        if bidirectional:
            assert len(known) == 0
        else:
            assert torch.allclose(known, whole(make(False), sound)[: len(known)], atol=1e-4)
            assert len(known) == MEL.frames(len(sound)) // 4
    assert reader_of(make(True), MEL).finish() == []


def test_all_recordings_are_read_each_as_if_alone() -> None:
    model = make(True)
    sounds = [noise(seconds, k) for k, seconds in enumerate((0.3, 1.1, 0.5, 21.0, 0.02))]
    flat = np.concatenate([(sound * 32767).astype(np.int16) for sound in sounds])
    starts = np.cumsum([0, *map(len, sounds)])
    letters = Strings(np.frombuffer(b"aaaaa", np.uint8), np.arange(6))
    data = Recordings(flat, starts, np.arange(len(sounds)), letters, letters)
    found = dict(logs_of(model, data, MEL, untold))
    assert sorted(found) == [*range(len(sounds))]
    for k in (0, 1, 2, 4):
        assert torch.allclose(found[k], whole(model, data.of(k)), atol=1e-4)
    long = torch.cat([one.logs for one in segments([data.of(3)], model, MEL)])
    assert torch.allclose(found[3], long, atol=1e-4)


def test_what_is_written_has_no_blanks_at_its_ends() -> None:
    logs = torch.full((5, 3), -9.0)
    logs[[0, 1, 2, 3, 4], [2, 1, 0, 1, 2]] = 0.0
    assert written_of(logs, ["a", " "]) == "aa"
