"""Compare the points of a sweep: summary.csv, summary.md, summary.png and a sheet of digits for each task.

    python sweep/summary.py runs/sweep          # bash run_sweep.sh --summary runs/sweep does the same

It reads what is there, so it can be called while the sweep runs.
"""

import argparse
import contextlib
import csv
import itertools
import json
import shlex
import sys
from pathlib import Path
from statistics import fmean

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from data_utils import load_split, save_sheet
from grade import CAPS
from lab.cli import LabError, run_command
from lab.files import write_whole
from submission_api import SubmissionError, load_checkpoint
from sweep.points import POINT, read_result, read_settings

COLUMNS = (
    "task", "latent_dim", "var", "epochs", "seed", "mse", "ssim", "fid", "digit_accuracy", "rec", "kl", "bonus", "raw",
    "score", "seconds", "parameters",
)  # fmt: skip
SETTING = ("task", "var", "epochs", "latent_dim")
PANELS = {  # column → title; ↑ and ↓ say which way is better
    "score": "score ↑ (dashed: before the cap)",
    "ssim": "SSIM ↑",
    "mse": "MSE ↓",
    "bonus": "bonus ↑",
    "fid": "FID ↓",
    "digit_accuracy": "digit accuracy ↑ (not in the score)",
}
TABLE = {"mse": ".4f", "ssim": ".4f", "fid": ".3f", "digit_accuracy": ".3f", "rec": ".2f", "kl": ".2f", "bonus": ".4f"}


def read_point(folder, name, data):
    """Return a done point's row {column: value}, None for another point; what is not to be had is None."""
    figures = read_result(folder, name, data)
    if figures is None:
        return None
    settings = POINT.fullmatch(name).groupdict()
    row = dict.fromkeys(COLUMNS) | {"point": name, "task": settings["task"], "var": float(settings["var"])}
    row |= {column: int(settings[column]) for column in ("latent_dim", "epochs", "seed")}
    row |= {column: figures[column] for column in COLUMNS if column in figures}
    # A score stays a score after the checkpoints were deleted.
    with contextlib.suppress(SubmissionError, OSError, ValueError, KeyError, IndexError):
        last = load_checkpoint(folder / name / f"epoch_{row['epochs']}.pth")
        row |= {column: last["history"][-1].get(f"valid_{column}") for column in ("rec", "kl")}
        row["seconds"] = last["seconds"]
        row["parameters"] = json.loads((folder / name / "config.json").read_text())["parameters"]
    return row


def read_points(folder):
    """Return the rows of all points that are done, in the order of their settings."""
    data = read_settings(folder)[1]
    names = [path.name for path in folder.iterdir() if POINT.fullmatch(path.name)]
    rows = [row for row in (read_point(folder, name, data) for name in names) if row is not None]
    return sorted(
        rows, key=lambda row: (list(CAPS).index(row["task"]), *(row[name] for name in (*SETTING[1:], "seed")))
    )


def group(rows, *columns):
    """Return {values of the columns: rows}, for rows in the order of read_points."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def mean(rows, column):
    """Return the mean of a column over rows, None if one of them lacks it."""
    values = [row[column] for row in rows]
    return None if None in values else fmean(values)


def best_settings(rows):
    """Return {task: the rows of its best setting}: the highest mean score; of several at the cap, the highest raw."""
    best = {}
    for (task, *_), of_setting in group(rows, *SETTING).items():
        rank = (mean(of_setting, "score"), mean(of_setting, "raw"))
        if task not in best or rank > best[task][0]:
            best[task] = (rank, of_setting)
    return {task: of_setting for task, (_, of_setting) in best.items()}


def write_csv(rows, path):
    with write_whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def show(values, form):
    """Return the mean of values, and how far they spread, as text."""
    if None in values:
        return "-"
    spread = f" ± {(max(values) - min(values)) / 2:{form}}" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{spread}"


def commands(row, settings):
    """Return the commands that repeat a point from the start."""
    submission, data, arguments = settings
    train = ["python", "train.py"]
    train += [
        part for name, value in POINT.fullmatch(row["point"]).groupdict().items() for part in (f"--{name}", value)
    ]
    train += ["--submission", submission] * (submission != "submission.py") + arguments
    infer = ["python", "inference.py", "--task", row["task"]]
    grade = ["python", "grade.py", "--task", row["task"]]
    if data != "dataset/valid.npz":
        infer += ["--data_path", data]
        grade += ["--test_data_path", data]
    return "\n".join(shlex.join(command) for command in (train, infer, grade))


def write_markdown(rows, settings, notes, path):
    """Write one table a task, a row a setting, and the commands of the best setting's best seed."""
    best = best_settings(rows)
    lines = ["# Sweep", "", "Mean over the seeds ± half of the range. In bold: the best setting.", "", *notes]
    for (task,), of_task in group(rows, "task").items():
        lines += [f"## {task}, of {CAPS[task]:g}", ""]
        lines += [f"| latent_dim | var | epochs | seeds | {' | '.join(TABLE)} | raw | score |"]
        lines += ["| ---: " * (len(TABLE) + 6) + "|"]
        for (var, epochs, latent_dim), same in group(of_task, "var", "epochs", "latent_dim").items():
            cells = [f"{latent_dim}", f"{var:g}", f"{epochs}", f"{len(same)}"]
            forms = TABLE | {"raw": ".3f", "score": ".3f"}
            cells += [show([row[column] for row in same], form) for column, form in forms.items()]
            if same == best[task]:
                cells = [f"**{cell}**" for cell in cells]
            lines += [f"| {' | '.join(cells)} |"]
        row = max(best[task], key=lambda row: (row["score"], row["raw"]))
        lines += [
            "",
            f"The best setting's commands (seed {row['seed']}: raw {row['raw']:.3f}, score {row['score']:.3f}):",
            "",
        ]
        lines += ["```sh", commands(row, settings), "```", ""]
    with write_whole(path) as temporary:
        temporary.write_text("\n".join(lines))


def draw_line(axes, rows, column, style, marker, **how):
    """Draw a column's mean over latent_dim, and the band between its lowest and highest seed."""
    points = group(rows, "latent_dim")
    points = {latent_dim: [row[column] for row in same] for (latent_dim,), same in points.items()}
    x = list(points)
    axes.plot(x, [fmean(values) for values in points.values()], style, marker=marker, markersize=4, **how)
    if any(len(values) > 1 for values in points.values()):
        low, high = ([end(values) for values in points.values()] for end in (min, max))
        axes.fill_between(x, low, high, color=how["color"], alpha=0.2, linewidth=0)


def draw(rows, path):
    """Draw the score of each task, its terms and the digit accuracy against latent_dim, one line a task and var."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = group(rows, "task", "var", "epochs")
    many_epochs = len({row["epochs"] for row in rows}) > 1
    panels = [("score", task) for task in tasks]
    panels += [
        (column, None) for column in PANELS if column != "score" and any(row[column] is not None for row in rows)
    ]
    wide = -(-len(panels) // 2)
    figure = Figure(figsize=(4.2 * wide, 7.2), layout="constrained")
    grid = figure.subplots(2, wide, squeeze=False).ravel()
    dims = sorted({row["latent_dim"] for row in rows})

    for axes, (column, task) in itertools.zip_longest(grid, panels, fillvalue=(None, None)):
        if column is None:
            axes.axis("off")
            continue
        for number, ((of_task, var, epochs), of_line) in enumerate(lines.items()):
            if task not in (None, of_task) or of_line[0][column] is None:
                continue
            how = {"color": f"C{number % 10}", "marker": "os"[tasks.index(of_task)]}
            if column == "score" and any(row["raw"] != row["score"] for row in of_line):
                draw_line(axes, of_line, "raw", "--", linewidth=1, **how)
            label = f"{of_task}, var {var:g}" + (f", {epochs} epochs" if many_epochs else "")
            draw_line(axes, of_line, column, "-", label=label, **how)
        axes.set_title((f"{task}: " if task else "") + PANELS[column], fontsize=10)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(spaced(dims)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("latent_dim", fontsize=9)
        axes.grid(alpha=0.3)
    for axes, (_, task) in zip(grid, [panel for panel in panels if panel[1]], strict=False):
        mark_best(axes, best_settings(rows)[task])

    handles = {}
    for axes in grid:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(4, len(handles)), fontsize=9)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=110)


def spaced(dims, ratio=1.3):
    """Return those of the latent_dims that can be written under a logarithmic axis without touching."""
    kept = dims[:1]
    for latent_dim in dims[1:]:
        if latent_dim >= kept[-1] * ratio:
            kept.append(latent_dim)
    return kept


def mark_best(axes, rows):
    """Put a star on a task's best setting."""
    x, score = rows[0]["latent_dim"], mean(rows, "score")
    text = f"best: latent_dim {x}, var {rows[0]['var']:g}\n{show([row['score'] for row in rows], '.2f')}"
    if mean(rows, "raw") != score:
        text += f", raw {mean(rows, 'raw'):.2f}"
    axes.plot([x], [score], "*", color="black", markersize=14, zorder=5)
    axes.annotate(
        text, (0.5, 0.04), xycoords="axes fraction", ha="center", fontsize=9, bbox={"fc": "white", "ec": "0.7"}
    )


def draw_digits(folder, rows, data):
    """Draw the first picture of each digit over its reconstructions, a row a latent_dim, at each task's best var."""
    images, labels = load_split(data)
    firsts = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10) if (labels == digit).any()]
    for task, best in best_settings(rows).items():
        same = [row for row in rows if all(row[name] == best[0][name] for name in ("task", "var", "epochs"))]
        sheet, titles = [images[firsts]], ["original"]
        for (latent_dim,), (row, *_) in group(same, "latent_dim").items():
            with (
                contextlib.suppress(FileNotFoundError),
                np.load(folder / row["point"] / "output" / "recon.npz") as arrays,
            ):
                sheet.append(arrays["images"][firsts])
                titles.append(f"latent_dim {latent_dim}")
        title = f"{task}, var {best[0]['var']:g}: the same digits at each width"
        save_sheet(folder / f"digits_{task}.png", np.stack(sheet), title, titles)


def count_versions(folder, rows):
    """Return how many different submissions the points were trained with; each point keeps a copy."""
    copies = [folder / row["point"] / "submission.py" for row in rows]
    return len({path.read_bytes() for path in copies if path.is_file()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sweep's folder")
    folder = parser.parse_args().folder
    if not (folder / "settings.txt").is_file():
        raise LabError(f"{folder} holds no sweep: give the folder that run_sweep.sh --out was given.")
    rows = read_points(folder)
    if not rows:
        raise LabError(
            f"no point in {folder} is done yet: bash run_sweep.sh --status --out {folder} says how far they are."
        )

    settings = read_settings(folder)
    notes = []
    if (versions := count_versions(folder, rows)) > 1:
        notes = [f"Note: these points were trained with {versions} versions of {settings[0]}; each keeps its copy.", ""]
        print(notes[0])
    write_csv(rows, folder / "summary.csv")
    write_markdown(rows, settings, notes, folder / "summary.md")
    draw(rows, folder / "summary.png")
    draw_digits(folder, rows, settings[1])
    for task, best in best_settings(rows).items():
        score, raw = (show([row[column] for row in best], ".2f") for column in ("score", "raw"))
        print(f"{task}: best at latent_dim {best[0]['latent_dim']}, var {best[0]['var']:g}: score {score} (raw {raw})")
    print(f"{len(rows)} points: {folder}/summary.md, summary.csv, summary.png, digits_*.png")


if __name__ == "__main__":
    run_command(main)
