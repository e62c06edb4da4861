"""The commands ``flare stats …``. Slow modules are imported when a command runs, so that ``--help`` is fast."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Statistics of sites' data, reports of them, data contracts, and privacy.", no_args_is_help=True)

policy_app = typer.Typer(help="The policy of a site's owner.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")

_Data = Annotated[str, typer.Argument(help="The path of the data, such as a CSV or Parquet file, or a database's URL.")]


@app.command("contract")
def write_contract(
    data: _Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("contract.yml"),
    name: Annotated[str | None, typer.Option(help="The name of the data; that of the file if left out.")] = None,
    label: Annotated[str | None, typer.Option(help="The column that a model predicts.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="A column's unit, as COLUMN=UNIT; may be repeated.")] = None,
    least: Annotated[int, typer.Option("--min-count", help="The fewest rows that anything in it stands for.")] = 10,
    policy: Annotated[Path | None, typer.Option(help="The folder with the site's privacy.toml, which holds.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a contract that data like those of a reference site keep. It holds no value of a person."""
    from flare_stats.contract.errors import ContractError
    from flare_stats.contract.making import contract_of_source
    from flare_stats.contract.writing import text_of

    if output.exists() and not force:
        raise ContractError(f"{output} exists; choose another file with -o, or replace it with --force")
    units = dict(_split(each) for each in unit or ())
    made = contract_of_source(
        data, name=name or Path(data).name.split(".")[0], label=label, units=units, least=least, local=policy
    )
    output.write_text(text_of(made), encoding="utf-8")
    sys.stdout.write(f"{output}: the rules of {len(made.columns)} columns; read them, and edit them as needed\n")


@app.command("check")
def check_data(
    data: _Data,
    contract: Annotated[Path, typer.Option("-c", "--contract", help="The contract.")] = Path("contract.yml"),
    details: Annotated[bool, typer.Option("--details", help="Show values of the data, too.")] = False,
) -> None:
    """Compare data with a contract, and print every broken rule; exit with 1 if there is one."""
    from flare_stats.contract.breaches import text_of
    from flare_stats.contract.making import check_source
    from flare_stats.contract.reading import load

    rules = load(contract)
    rows, broken = check_source(data, rules)
    if not broken:
        sys.stdout.write(f"{data} keeps the contract {rules.name!r}: {rows:,} rows, {len(rules.columns)} columns\n")
        return
    columns = len({each.column for each in broken})
    sys.stdout.write(f"{data} breaks the contract {rules.name!r} in {columns} places:\n")
    sys.stdout.write(text_of(broken, details=details) + "\n")
    raise typer.Exit(1)


@app.command("budget")
def show_budget(
    place: Annotated[Path, typer.Argument(help="A site's kit, a folder with a privacy.toml, or a workspace.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a site has answered, and what is spent and left of its privacy budget."""
    from flare_stats.privacy.accounts import budget_of, budget_text, policies_in

    budgets = [budget_of(policy) for policy in policies_in(place)]
    text = json.dumps(budgets, indent=2) if as_json else "\n".join(budget_text(each) for each in budgets)
    sys.stdout.write(text + "\n")


@policy_app.command("check")
def check_policy(file: Annotated[Path, typer.Argument(help="A site's privacy.toml.")]) -> None:
    """Read a site's policy, and say what it forbids and what it leaves open."""
    from flare_stats.privacy.accounts import policy_text
    from flare_stats.privacy.rules import Rules

    sys.stdout.write(policy_text(Rules.read(file)) + "\n")


@app.command("report")
def write_report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or its statistics.json.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; report.html beside the statistics if left out."),
    ] = None,
) -> None:
    """Write the HTML report of a run's statistics again, from the JSON files that it left."""
    from flare_stats.report.files import REPORT, find_statistics, report_of

    statistics = find_statistics(run)
    written = output or statistics.parent / REPORT
    written.write_text(report_of(statistics), encoding="utf-8")
    sys.stdout.write(f"{written}: {max(written.stat().st_size // 1000, 1):,} kB; open it in a browser\n")


def _split(unit: str) -> tuple[str, str]:
    column, equals, name = unit.rpartition("=")
    if not (column and equals and name):
        raise typer.BadParameter(f"{unit!r} is no unit; write COLUMN=UNIT, such as height=cm", param_hint="--unit")
    return column, name
