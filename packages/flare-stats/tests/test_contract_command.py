from __future__ import annotations

from pathlib import Path

import pytest
from contract_tables import halves
from typer.testing import CliRunner

from flare_core import FlareError
from flare_stats.cli import app
from flare_stats.contract import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a reference's file and another site's."""
    monkeypatch.chdir(tmp_path)
    first, second, _ = halves("hospital-0")
    first.to_csv("reference.csv", index=False)
    second.to_csv("other.csv", index=False)
    second.assign(height=second["height"] / 2.54).to_parquet("inches.parquet", index=False)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, FlareError):  # which the command flare prints
        raise done.exception
    return done.exit_code, done.output


def test_a_contract_is_made_edited_and_checked(folder: Path) -> None:
    made = run("contract", "reference.csv", "-o", "people.yml", "--label", "sick", "--unit", "height=cm")
    assert made == (0, "people.yml: the rules of 14 columns; read them, and edit them as needed\n")
    contract = load("people.yml")
    assert contract.name == "reference"
    assert contract.label is not None
    assert contract.columns["height"].unit == "cm"
    code, output = run("check", "other.csv", "--contract", "people.yml")
    assert code == 0
    assert output.startswith("other.csv keeps the contract 'reference': ")
    code, output = run("check", "inches.parquet", "-c", "people.yml")
    assert code == 1
    assert "\nheight\n" in output
    assert "likely cause: other unit: a constant factor of 0.393701 (in instead of cm)" in output
    text = Path("people.yml").read_text()
    Path("people.yml").write_text(text.replace("  age:\n    kind: int", "  age:\n    kind: int\n    range: [0, 30]", 1))
    with pytest.raises(FlareError, match=r"there are two keys 'range'"):
        run("check", "other.csv", "-c", "people.yml")


def test_values_are_shown_only_if_asked_for(folder: Path) -> None:
    Path("strict.yml").write_text("contract: 1\ncolumns:\n  age: {kind: int, range: [0, 30]}\n")
    code, output = run("check", "other.csv", "-c", "strict.yml")
    assert (code, "they are from" in output) == (1, False)
    code, output = run("check", "other.csv", "-c", "strict.yml", "--details")
    assert (code, "they are from" in output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["contract", "reference.csv", "-o", "reference.csv"], "reference.csv exists; choose another file with -o"),
        (["contract", "none.csv"], "there is no file none.csv"),
        (["contract", "reference.csv", "--label", "ill"], "has no column 'ill'"),
        (["contract", "reference.csv", "--min-count", "1"], "give at least 2"),
        (["check", "other.csv"], "contract.yml: No such file or directory"),
    ],
)
def test_an_unusable_argument_is_an_error(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(FlareError, match=message):
        run(*arguments)
    assert not Path("contract.yml").exists()


def test_a_unit_without_a_column_is_a_wrong_command_line(folder: Path) -> None:
    code, output = run("contract", "reference.csv", "--unit", "cm")
    assert code == 2
    assert "write COLUMN=UNIT" in output


def test_an_existing_contract_is_replaced_only_with_force(folder: Path) -> None:
    run("contract", "reference.csv")
    before = Path("contract.yml").read_text()
    assert run("contract", "reference.csv", "--force")[0] == 0
    assert Path("contract.yml").read_text() == before, "the same data make the same contract"
