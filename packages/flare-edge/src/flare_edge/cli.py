"""The commands ``flare edge …``. Slow modules are imported when a command runs, so that ``--help`` is fast."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flare_edge.gateway.commands import add_to

if TYPE_CHECKING:
    from flare_edge.virtual import Device, VersionMade

app = typer.Typer(help="Fleets of devices: who may join a gateway, and simulations.", no_args_is_help=True)
add_to(app)

_FLEET, _SERVER = "The fleet", "The server"


def _option(help_: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel)


@app.command("simulate")
def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")] = Path("edge-simulation"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    training: Annotated[
        str, typer.Option(help="'digits': train on images; 'none': devices only take time.")
    ] = "digits",
    target: Annotated[float | None, typer.Option(help="End when this accuracy is reached.")] = None,
    limit_s: Annotated[float, typer.Option(help="End after so many simulated seconds.")] = 30 * 86400.0,
    record: Annotated[
        bool, typer.Option(help="Record the server's inputs and decisions, for 'flare edge replay'.")
    ] = True,
    devices: Annotated[int, _option("Number of devices.", _FLEET)] = 1000,
    gateways: Annotated[int, _option("Number of gateways.", _FLEET)] = 1,
    trace: Annotated[
        Path | None,
        _option("A CSV file with devices' sessions, or the inputs.jsonl of a run, instead of a seeded fleet.", _FLEET),
    ] = None,
    train_s: Annotated[float, _option("Median seconds that a device takes to train.", _FLEET)] = 60.0,
    sigma: Annotated[float, _option("Spread of the log-normal speeds.", _FLEET)] = 1.0,
    bytes_per_s: Annotated[float | None, _option("Median bandwidth of a device; unlimited by default.", _FLEET)] = None,
    online_s: Annotated[float, _option("Mean seconds for which a device is there.", _FLEET)] = 3600.0,
    offline_s: Annotated[float, _option("Mean seconds between; 0: devices are always there.", _FLEET)] = 0.0,
    nightly: Annotated[bool, _option("Devices come once a day, at hours of their own.", _FLEET, "--nightly")] = False,
    failures: Annotated[float, _option("Share of orders that fail.", _FLEET)] = 0.0,
    losses: Annotated[float, _option("Share of orders in which the device vanishes.", _FLEET)] = 0.0,
    battery_s: Annotated[float | None, _option("Seconds of training on a full battery.", _FLEET)] = None,
    charge_s: Annotated[float, _option("Seconds to charge an empty battery.", _FLEET)] = 7200.0,
    at_once: Annotated[int, _option("Number of devices that work at a time.", _SERVER)] = 100,
    updates: Annotated[int, _option("Number of updates of which a version is made.", _SERVER)] = 10,
    versions: Annotated[int, _option("End with this version.", _SERVER)] = 200,
    synchronous: Annotated[
        bool, _option("Rounds of --at-once devices, which wait for --updates of them.", _SERVER, "--synchronous")
    ] = False,
    discount: Annotated[bool, _option("Discount stale updates.", _SERVER)] = True,
    history: Annotated[
        int | None, _option("Use updates of the newest so many versions; all by default.", _SERVER)
    ] = None,
    global_lr: Annotated[float, _option("Factor on the mean update.", _SERVER)] = 1.0,
    update_timeout: Annotated[float, _option("Gateways report after so many seconds.", _SERVER)] = 5.0,
    answer_within_s: Annotated[float | None, _option("Orders fail after so many seconds.", _SERVER)] = None,
) -> None:
    """Run a fleet in simulated time, and write what happens, with plots, into a folder."""
    arguments = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    from flare_edge.errors import EdgeError
    from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
    from flare_edge.virtual import (
        Battery,
        DigitsTraining,
        FleetModel,
        NoTraining,
        Presence,
        Simulation,
        Target,
    )
    from flare_edge.virtual.results import INPUTS, write_results

    if training not in {"digits", "none"}:
        raise EdgeError(f"--training is {training!r}; give digits or none")
    if trace is not None:
        fleet = _traced(trace, seed)
    else:
        fleet = FleetModel(
            devices,
            gateways,
            seed,
            median_train_s=train_s,
            speed_sigma=sigma,
            median_bytes_per_s=math.inf if bytes_per_s is None else bytes_per_s,
            failure_rate=failures,
            loss_rate=losses,
            battery=None if battery_s is None else Battery(battery_s, charge_s),
            presence=Presence(online_s, offline_s or (86400.0 if nightly else 0.0), nightly),
        ).devices()
    models = ModelManagerConfig(
        max_num_active_model_versions=1 if synchronous else history,
        max_model_version=versions,
        update_timeout=update_timeout,
        num_updates_for_model=updates,
        max_model_history=1 if synchronous else history,
        staleness_weight=discount,
        global_lr=global_lr,
    )
    settings = FedBuffSettings(models, DeviceManagerConfig(at_once, at_once if synchronous else 1))
    for remark in settings.remarks():
        _note(f"note: {remark}")
    output.mkdir(parents=True, exist_ok=True)
    with (output / INPUTS).open("w", encoding="utf-8") if record else nullcontext() as inputs:
        simulation = Simulation(
            settings,
            fleet,
            DigitsTraining(len(fleet), seed) if training == "digits" else NoTraining(),
            seed=seed,
            answer_within_s=answer_within_s,
            limit_s=limit_s,
            target=None if target is None else Target("accuracy", target),
            record=inputs,
        )
        happened = simulation.run(_progress(versions))
    kind = f"rounds of {updates} of {at_once}" if synchronous else f"{at_once} at work, a version of {updates} updates"
    title = f"{len(fleet):,} devices, {kind}, seed {seed}"
    write_results(happened, output, title, arguments)
    rate = happened.check_ins / happened.wall_s
    sys.stdout.write(
        f"{happened.outcome}, after {happened.seconds:,.0f} simulated seconds\n"
        f"{happened.check_ins:,} check-ins, {happened.results:,} results, {happened.failures:,} failures,"
        f" {happened.withdrawn:,} withdrawn; {happened.wall_s:.1f} s of real time, {rate:,.0f} check-ins a second\n"
        f"{output}\n"
    )


@app.command("compare")
def compare_methods(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")] = Path("edge-comparison"),
    seeds: Annotated[int, typer.Option(help="Number of fleets.")] = 5,
    devices: Annotated[int, typer.Option(help="Number of devices.")] = 1000,
    at_once: Annotated[int, typer.Option(help="Number of devices that work at a time.")] = 100,
    updates: Annotated[int, typer.Option(help="Number of updates of which an asynchronous version is made.")] = 10,
    sigma: Annotated[float, typer.Option(help="Spread of the log-normal speeds.")] = 1.0,
    target: Annotated[float, typer.Option(help="The accuracy to be reached.")] = 0.92,
) -> None:
    """Measure the simulated time to an accuracy, of asynchronous aggregation and of synchronous rounds."""
    from flare_edge.virtual.comparing import Comparison, compare
    from flare_edge.virtual.results import write_comparison

    comparison = Comparison(devices, at_once, updates, speed_sigma=sigma, accuracy=target, seeds=range(seeds))
    compared = compare(comparison, _note)
    output.mkdir(parents=True, exist_ok=True)
    title = f"{devices:,} devices, {at_once} at work at a time, log-normal speeds (sigma {sigma:g})"
    write_comparison(compared, comparison, output, title)
    sys.stdout.write(f"{compared.table()}\n{output}\n")


@app.command("replay")
def replay_record(
    record: Annotated[Path, typer.Argument(help="The inputs.jsonl of a run, real or simulated.")],
) -> None:
    """Give a run's inputs to a new server, and compare its decisions with those of the run."""
    from flare_edge.fedbuff import replay

    with record.open(encoding="utf-8") as lines:
        compared = replay(lines)
    sys.stdout.write(f"{record}: all {compared:,} decisions are the same\n")


@app.command("plot")
def plot_record(
    record: Annotated[Path, typer.Argument(help="The inputs.jsonl of a run, real or simulated.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The SVG file to write.")] = Path("run.svg"),
    metric: Annotated[str, typer.Option(help="The metric, as measured by devices.")] = "accuracy",
) -> None:
    """Draw versions, staleness, devices and a metric over the time of a run."""
    from flare_edge.virtual.history import History
    from flare_edge.virtual.plots import draw_run

    with record.open(encoding="utf-8") as lines:
        history = History.of_record(lines)
    draw_run(history, str(record), output, metric=metric, clock="")
    sys.stdout.write(f"{output}\n")


def _traced(path: Path, seed: int) -> list[Device]:
    """Return the devices of a trace or record."""
    from flare_edge.virtual import read_record, read_trace

    if path.suffix == ".csv":
        return read_trace(path, seed=seed)
    with path.open(encoding="utf-8") as lines:
        return read_record(lines, seed=seed)


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _progress(versions: int) -> Callable[[VersionMade], None]:
    """Return a function that prints about twenty lines in all."""
    every = max(versions // 20, 1)

    def progress(made: VersionMade) -> None:
        if made.version % every == 0:
            metrics = "".join(f", {name} {value:.3f}" for name, value in made.metrics.items())
            sys.stdout.write(f"version {made.version} after {made.time:,.0f} s{metrics}\n")

    return progress
