"""A camera and an edge server: python examples/camera_loop.py head.fcz --server HOST:PORT --pictures FOLDER.

Pictures of a folder come at a camera's pace, round and round. The head runs here, the tail at the server
(featcodec serve tail.fcz); in the end there is a plot of where each picture's time went.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import Tensor

import featcodec as fc
from featcodec.bench.frames import frames
from featcodec.runtime import Client, Result
from featcodec.runtime.result import STAGES


def main() -> None:
    """Take pictures, send them, show progress, draw."""
    args = parser().parse_args()
    head = fc.load_part(args.head)
    pictures = [head.tensor_from(frame.x) for frame in frames([args.pictures], (args.size, args.size), "cifar10")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Client(args.server, head=head, deadline_s=args.deadline) as client, Progress(*columns) as progress:
        task = progress.add_task("first picture", total=args.count)
        results = []
        for result in client.map(camera(pictures, args.count, args.fps), in_flight=4):
            results.append(result)
            progress.update(task, advance=1, description=said(result))
    draw(results, args.out)
    late = sum(result.failed for result in results)
    walls = sorted(result.timing.wall for result in results)
    print(f"{len(results)} pictures, {late} without an answer, {walls[len(walls) // 2]:.1f} ms in the median: {args.out}")


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    p.add_argument("head", type=Path)
    p.add_argument("--server", required=True)
    p.add_argument("--pictures", required=True, help="a folder")
    p.add_argument("--size", type=int, default=32, help="side that pictures are brought to")
    p.add_argument("--fps", type=float, default=15.0)
    p.add_argument("--count", type=int, default=150, help="pictures in all")
    p.add_argument("--deadline", type=float, default=1.0, help="seconds after which an answer is of no use")
    p.add_argument("--out", type=Path, default=Path("latency.png"))
    return p


def camera(pictures: list[Tensor], count: int, fps: float) -> Iterator[Tensor]:
    """Yield pictures at a pace; one that is due while the loop is busy comes as soon as it is not."""
    begun = time.monotonic()
    for i, picture in enumerate(itertools.islice(itertools.cycle(pictures), count)):
        time.sleep(max(begun + i / fps - time.monotonic(), 0.0))
        yield picture


def said(result: Result) -> str:
    """One line for a picture."""
    if result.failed:
        return f"no answer: {result.error}"[:60]
    return f"class {int(result.output.argmax())} in {result.timing.wall:5.1f} ms"


def draw(results: list[Result], path: Path) -> None:
    """Draw every picture's stages, one above the other."""
    answered = [i for i, result in enumerate(results) if not result.failed]
    times = [[getattr(results[i].timing, stage) or 0.0 for i in answered] for stage in (*STAGES, "uncovered")]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(answered, times, labels=[*STAGES, "none of these"])
    axes.set(xlabel="picture", ylabel="ms", title="Where the time of each picture went", xlim=(0, len(results)))
    axes.legend(loc="upper right", ncols=4)
    FigureCanvasAgg(figure).print_png(str(path))


if __name__ == "__main__":
    main()
