"""MIDI files: what is read, what is left out, what is refused, and what is written."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import symusic

from holdfast.data import DataError, Fault
from holdfast.data.music import Note, Tune, read_midi, write_midi

from .helpers import drawn, file_of, meta, off, on


def _raw(path: Path, track: bytes, division: bytes = b"\x01\xe0", type: int = 0) -> str:
    """A MIDI file of one track, byte by byte."""
    path.write_bytes(
        b"MThd" + struct.pack(">LHH", 6, type, 1) + division + b"MTrk" + struct.pack(">L", len(track)) + track
    )
    return str(path)


def _notes(tune: Tune) -> list[tuple[int, ...]]:
    return [tuple(note) for note in tune.notes]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read_by_us_and_by_others(seed: int, tmp_path: Path) -> None:
    tune = drawn(seed, step=17)
    write_midi(tune, tmp_path / "a.mid")
    found = read_midi(str(tmp_path / "a.mid"))
    assert (found.notes, found.beat, found.meter, found.remarks) == (tune.notes, 480, tune.meter, ())
    assert found.tempo == pytest.approx(tune.tempo)
    other = symusic.Score(str(tmp_path / "a.mid"))
    theirs = [(n.start, n.duration, n.pitch, n.velocity) for track in other.tracks for n in track.notes]
    assert sorted(theirs) == sorted(_notes(tune))
    assert other.tempos[0].qpm == pytest.approx(100)
    assert (other.time_signatures[0].numerator, other.time_signatures[0].denominator) == tune.meter
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]


def test_notes_of_one_pitch_that_overlap_end_when_they_did(tmp_path: Path) -> None:
    tune = Tune((Note(0, 900, 60, 70), Note(0, 300, 60, 50), Note(200, 100, 60, 60)))
    write_midi(tune, tmp_path / "a.mid")
    assert sorted(read_midi(str(tmp_path / "a.mid")).notes) == sorted(tune.notes)


def test_what_ends_is_written_before_what_begins(tmp_path: Path) -> None:
    write_midi(Tune((Note(0, 480, 60, 70), Note(480, 480, 60, 70), Note(480, 480, 55, 70))), tmp_path / "a.mid")
    track = mido.MidiFile(tmp_path / "a.mid").tracks[0]
    said = [(one.type, one.note) for one in track if not one.is_meta]
    assert said[:2] == [("note_on", 60), ("note_off", 60)]
    assert {*said[2:4]} == {("note_on", 55), ("note_on", 60)}


def test_names_are_kept_whatever_they_are_written_in(tmp_path: Path) -> None:
    write_midi(Tune((Note(0, 1, 60, 1),), name="Für Élise ♪"), tmp_path / "a.mid")
    assert read_midi(str(tmp_path / "a.mid")).name == "Für Élise ♪"
    latin = file_of(tmp_path / "b.mid", [meta("track_name", name="Für Élise"), on(60), off(60, 10)])
    assert read_midi(latin).name == "Für Élise"


@pytest.mark.parametrize(
    ("meter", "end", "length", "expected"),
    [
        ((4, 4), 1, 0, 1920),
        ((4, 4), 1920, 0, 1920),
        ((4, 4), 1921, 0, 3840),
        ((3, 4), 1, 0, 1440),
        ((6, 8), 1441, 0, 2880),
        ((4, 4), 1, 1921, 3840),
        ((4, 4), 1921, 1, 3840),
    ],
)
def test_a_file_ends_with_a_bar(meter: Any, end: int, length: int, expected: int, tmp_path: Path) -> None:
    write_midi(Tune((Note(0, end, 60, 80),), meter=meter), tmp_path / "a.mid", length)
    assert sum(message.time for message in mido.MidiFile(tmp_path / "a.mid").tracks[0]) == expected


def test_a_file_may_be_packed_or_within_an_archive(tmp_path: Path) -> None:
    tune = drawn(0)
    write_midi(tune, tmp_path / "a.mid")
    content = (tmp_path / "a.mid").read_bytes()
    (tmp_path / "b.mid.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("deep/a.mid", content)
    assert read_midi(str(tmp_path / "b.mid.gz")).notes == tune.notes
    assert read_midi(f"zip://deep/a.mid::{tmp_path}/c.zip").notes == tune.notes
    with pytest.raises(DataError, match="there is no"):
        read_midi(str(tmp_path / "d.mid"))


def test_running_status_and_a_velocity_of_0_are_read(tmp_path: Path) -> None:
    track = bytes.fromhex("00 90 3c 46  60 3c 00  00 40 50  83 60 40 00  00 ff 2f 00")
    assert _notes(read_midi(_raw(tmp_path / "a.mid", track))) == [(0, 96, 60, 70), (96, 480, 64, 80)]


def test_of_notes_of_one_pitch_on_a_channel_the_first_ends_first(tmp_path: Path) -> None:
    track = [on(60), on(60, 100, velocity=50), off(60, 100), off(60, 100), off(60, 100), on(62), off(62, 1)]
    assert _notes(read_midi(file_of(tmp_path / "a.mid", track))) == [
        (0, 200, 60, 70),
        (100, 200, 60, 50),
        (400, 1, 62, 70),
    ]


def test_channels_and_tracks_do_not_end_each_others_notes(tmp_path: Path) -> None:
    one = [on(60), on(60, 100, channel=1), off(60, 100, channel=1), off(60, 100)]
    other = [on(60, 10), off(60, 10)]
    assert _notes(read_midi(file_of(tmp_path / "a.mid", one, other))) == [
        (0, 300, 60, 70),
        (10, 10, 60, 70),
        (100, 100, 60, 70),
    ]


def test_notes_without_an_end_end_with_their_track(tmp_path: Path) -> None:
    one = [on(60), on(64, 100), off(64, 100), meta("end_of_track", time=50)]
    other = [on(65), on(67, 30), on(67)]
    found = read_midi(file_of(tmp_path / "a.mid", one, other))
    assert _notes(found) == [(0, 250, 60, 70), (0, 30, 65, 70), (30, 1, 67, 70), (30, 1, 67, 70), (100, 100, 64, 70)]
    assert found.remarks == ("notes without an end: 4",)


def test_drums_are_left_out(tmp_path: Path) -> None:
    drums = [on(36, channel=9), off(36, 10, channel=9)]
    found = read_midi(file_of(tmp_path / "a.mid", [on(60), off(60, 10)], drums))
    assert (_notes(found), found.remarks) == ([(0, 10, 60, 70)], ("drums were left out",))
    with pytest.raises(Fault, match=r"^it holds drums only$"):
        read_midi(file_of(tmp_path / "b.mid", drums))


@pytest.mark.parametrize("tracks", [[], [[]], [[], [meta("set_tempo", tempo=400_000)]], [[off(60)]]])
def test_a_file_without_notes_is_refused(tracks: Any, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"^it holds no notes$"):
        read_midi(file_of(tmp_path / "a.mid", *tracks))


def test_the_first_tempo_holds_and_changes_are_counted(tmp_path: Path) -> None:
    said = [meta("set_tempo", tempo=tempo, time=480) for tempo in (400_000, 400_000, 300_000, 400_000, 0)]
    found = read_midi(file_of(tmp_path / "a.mid", [on(60), off(60, 480)], said))
    assert (_notes(found), found.tempo, found.remarks) == ([(0, 480, 60, 70)], 150, ("changes of tempo: 2",))
    assert read_midi(file_of(tmp_path / "b.mid", [on(60), off(60, 480)])).tempo == 120


@pytest.mark.parametrize(
    ("said", "expected", "changes"),
    [
        ([], (4, 4), 0),
        ([(0, 3, 4)], (3, 4), 0),
        ([(0, 3, 4), (900, 6, 8), (90, 3, 4)], (3, 4), 2),
        ([(0, 3, 4), (300, 6, 8)], (6, 8), 1),
        ([(0, 3, 4), (0, 2, 4)], (2, 4), 1),
        ([(600, 3, 4)], (4, 4), 0),
        ([(0, 3, 4), (1000, 2, 4)], (3, 4), 1),
        ([(0, 0, 4), (0, 3, 128)], (4, 4), 0),
    ],
)
def test_the_meter_is_that_of_the_longest_time(said: Any, expected: Any, changes: int, tmp_path: Path) -> None:
    track = [meta("time_signature", time=when, numerator=up, denominator=low) for when, up, low in said]
    found = read_midi(file_of(tmp_path / "a.mid", track, [on(60), off(60, 1000)]))
    assert found.meter == expected
    assert found.remarks == ((f"changes of meter: {changes}",) if changes else ())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not a MIDI file"),
        (b"RIFF....WAVEfmt ", "it is not a MIDI file"),
        ("Für Elise".encode(), "it is not a MIDI file"),
        (b"MThd", "it is damaged: it is cut short"),
        (b"MThd\0\0\0\6\0\1\0\2\1\xe0", "it is damaged: it is cut short"),
        (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrx\0\0\0\0", "it is damaged: no MTrk header at start of track"),
    ],
)
def test_what_is_no_midi_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(Fault, match=f"^{said}$"):
        read_midi(str(tmp_path / "a.mid"))


def test_times_that_are_no_parts_of_a_beat_are_refused(tmp_path: Path) -> None:
    track = bytes.fromhex("00 90 3c 46  60 80 3c 00  00 ff 2f 00")
    with pytest.raises(Fault, match=r"counted in seconds \(SMPTE\)"):
        read_midi(_raw(tmp_path / "a.mid", track, division=b"\xe7\x28"))
    with pytest.raises(Fault, match="a beat has no ticks"):
        read_midi(_raw(tmp_path / "a.mid", track, division=b"\0\0"))
    with pytest.raises(Fault, match="of type 2, whose tracks have no time in common"):
        read_midi(_raw(tmp_path / "a.mid", track, type=2))
    with pytest.raises(Fault, match="more than 100,000 beats"):
        read_midi(_raw(tmp_path / "a.mid", bytes.fromhex("00 90 3c 46  ff ff ff 7f 80 3c 00  00 ff 2f 00")))


def test_damage_is_never_more_than_a_fault(tmp_path: Path) -> None:
    rich = [
        meta("track_name", name="a"),
        meta("key_signature", key="Em"),
        meta("time_signature", numerator=3, denominator=4),
        meta("smpte_offset"),
        meta("set_tempo", tempo=400_000),
        meta("sequence_number", number=3),
        ("sysex", {"data": (1, 2, 3)}),
        ("pitchwheel", {"pitch": 200}),
        ("control_change", {"control": 64, "value": 127}),
        *[one for note in range(40, 60) for one in (on(note), off(note, 100))],
    ]
    whole = Path(file_of(tmp_path / "a.mid", rich, rich)).read_bytes()
    draw = np.random.default_rng(0)
    faults = set()
    for k in range(500):
        content = bytearray(whole)
        for at in draw.integers(0, len(whole), draw.integers(1, 4)):
            content[at] = draw.integers(256)
        if k % 3 == 0:
            del content[int(draw.integers(len(content))) :]
        (tmp_path / "b.mid").write_bytes(content)
        try:
            assert read_midi(str(tmp_path / "b.mid")).notes
        except Fault as fault:
            faults.add(str(fault))
    assert len(faults) > 10
    assert max(len(fault.splitlines()) for fault in faults) == 1
    assert max(map(len, faults)) < 150


@pytest.mark.full  # 20,000 notes
def test_three_hours_are_read(tmp_path: Path) -> None:
    count = 20_000
    notes = tuple(Note(k * 518, 480, 21 + k % 88, 64) for k in range(count))
    write_midi(Tune(notes), tmp_path / "a.mid")
    found = read_midi(str(tmp_path / "a.mid"))
    assert found.notes == notes
    assert found.end / 480 / 120 > 179  # minutes
