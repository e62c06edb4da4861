"""Measure memory, threads, sockets and files of processes over time, and plot them as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import psutil

UNITS = {"memory": "MiB"}
KINDS = ("memory", "threads", "sockets", "files")

WIDTH, HEIGHT, LEFT, GAP = 720, 110, 70, 40


@dataclass(frozen=True)
class Sample:
    """The resources of a process at one time; memory is the proportional set size in MiB."""

    minutes: float
    memory: float
    threads: int
    sockets: int
    files: int


@dataclass
class Curve:
    """The samples of one process."""

    colour: str
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """An event, drawn as a thin line through all panels."""

    minutes: float
    colour: str


def measure(process: psutil.Process, minutes: float) -> Sample:
    """Measure a process.

    Raises:
        psutil.Error: the process has ended.
    """
    connections = process.net_connections(kind="all")
    return Sample(
        minutes,
        process.memory_full_info().pss / 2**20,
        process.num_threads(),
        sum(1 for each in connections if each.status in ("ESTABLISHED", "LISTEN")),
        process.num_fds(),
    )


def plot(
    title: str, curves: Sequence[Curve], marks: Iterable[Mark] = (), legend: Iterable[tuple[str, str]] = ()
) -> str:
    """Return an SVG with four panels over time, one below the other.

    Args:
        legend: text and colour of each entry.
    """
    curves = [each for each in curves if each.samples]
    end = max((each.samples[-1].minutes for each in curves), default=0.0) or 1.0
    bottom = 70 + len(KINDS) * (HEIGHT + GAP) - 18
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 30}" height="{bottom + 20}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    across = LEFT
    for text, colour in legend:
        parts.append(f'<text x="{across}" y="42" fill="{colour}">{escape(text)}</text>')
        across += 7 * len(text) + 20
    for index, kind in enumerate(KINDS):
        parts += _panel(kind, 70 + index * (HEIGHT + GAP), curves, list(marks), end)
    parts += [
        f'<text x="{LEFT}" y="{bottom}">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{bottom}" text-anchor="end">{end:.1f} minutes</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(kind: str, top: int, curves: Sequence[Curve], marks: Sequence[Mark], end: float) -> list[str]:
    high = max((getattr(each, kind) for curve in curves for each in curve.samples), default=0) * 1.1 or 1.0
    unit = f" ({UNITS[kind]})" if kind in UNITS else ""
    parts = [
        f'<path d="M{LEFT + mark.minutes / end * WIDTH:.1f},{top} v{HEIGHT}" stroke="{mark.colour}"/>'
        for mark in marks
        if mark.minutes <= end
    ]
    parts += [
        f'<text x="{LEFT}" y="{top - 6}">{kind}{unit}</text>',
        f'<path d="M{LEFT},{top} V{top + HEIGHT} H{LEFT + WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{high:.0f}</text>',
        f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
    ]
    for curve in curves:
        points = " ".join(
            f"{LEFT + each.minutes / end * WIDTH:.1f},{top + HEIGHT - getattr(each, kind) / high * HEIGHT:.1f}"
            for each in curve.samples
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>')
    return parts
