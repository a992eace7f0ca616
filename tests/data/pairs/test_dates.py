"""Dates in many languages: what Babel writes, no day in two parts, and no text that means two days."""

from __future__ import annotations

import datetime

import pytest

from holdfast.data.pairs.dates import FORMS, LOCALES, dates

babel = pytest.importorskip("babel.dates")


def test_a_seed_gives_the_same_dates_each_time() -> None:
    assert [*dates("train", 20, 3)] == [*dates("train", 20, 3)]
    assert [*dates("train", 20, 3)] != [*dates("train", 20, 4)]


def test_no_day_is_in_two_parts() -> None:
    days = [{iso for _, iso in dates(part, 3000, 0)} for part in ("train", "valid", "test")]
    assert all(len(found) > 1000 for found in days)
    assert len(set.union(*days)) == sum(map(len, days))


def test_each_text_is_what_some_language_writes_for_its_day() -> None:
    for written, iso in dates("test", 200, 0):
        day = datetime.date.fromisoformat(iso)
        assert any(babel.format_date(day, form, locale) == written for locale in LOCALES for form in FORMS)


def test_no_text_means_two_days() -> None:
    meaning: dict[str, datetime.date] = {}
    for number in range(2 * 366):
        day = datetime.date(2024, 1, 1) + datetime.timedelta(number)
        for locale in LOCALES:
            for form in FORMS:
                assert meaning.setdefault(babel.format_date(day, form, locale), day) == day
