"""Settings that operators make by environment variables."""

from __future__ import annotations

import pytest

from flare_tensor_downloader.settings import SettingError, TransferSettings


def test_what_holds_if_nothing_is_set():
    assert TransferSettings.from_environment({}) == TransferSettings(1 << 16, True, None)


def test_what_holds_can_be_spelled_out():
    assert TransferSettings.from_environment({"FLARE_SKIP_UNCHANGED": "1"}) == TransferSettings()


def test_sizes_have_units():
    found = TransferSettings.from_environment(
        {"FLARE_INLINE_BYTES": "8K", "FLARE_SPILL_BYTES": "2G", "FLARE_SKIP_UNCHANGED": "0"}
    )
    assert found == TransferSettings(8192, False, 2 << 30)


@pytest.mark.parametrize(
    ("name", "value"), [("FLARE_INLINE_BYTES", "many"), ("FLARE_SPILL_BYTES", "1T"), ("FLARE_SKIP_UNCHANGED", "no")]
)
def test_what_makes_no_sense_is_named(name, value):
    with pytest.raises(SettingError, match=f"{name} is '{value}'"):
        TransferSettings.from_environment({name: value})
