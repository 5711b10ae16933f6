"""The progress of a sweep and the comparison of its points, from whatever is in its folder at the moment."""

import contextlib
import csv
from collections import Counter
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from data_utils import load_split
from lab.cli import LabError
from lab.files import read_arrays, read_json, sha256, write_whole
from lab.plots import save_sheet
from lab.run import Run
from lab.slurm import Cluster
from lab.tasks import TASKS
from sweep.point import FILES, OWN, find_points

METRICS = {  # column → format in the table, title of its panel; ↑ and ↓ show which direction is better
    "mse": (".4f", "MSE ↓"), "ssim": (".4f", "SSIM ↑"), "fid": (".3f", "FID ↓"),
    "digit_accuracy": (".3f", "digit accuracy ↑ (not in the score)"),
    "recon_loss": (".2f", None), "kl": (".2f", "KL, nats"), "bonus": (".4f", None), "raw": (".3f", None),
    "score": (".3f", None),
}  # fmt: skip
COLUMNS = [*OWN, "lr", "batch_size", "state", "version", *FILES]
COLUMNS += [*METRICS, "no_better_than_mean", "seconds", "parameters", "reason"]
SETTING = ("version", "task", "var", "epochs", "latent_dim")  # rows with the same values are averaged
USELESS = 0.95  # share of the mean picture's MSE above which a point has learned no more than that picture


def read_rows(folder):
    """Return one row {column: value} per point in a sweep's folder, in the order of the tables; "version" says how its
    files and settings differ from those of the last call, and its state is then "older" instead of "done"."""
    if not (folder / "sweep.json").is_file():
        raise LabError(f"{folder} contains no sweep: give the folder of --out.")
    now, rows, tasks = read_json(folder / "sweep.json")["settings"], [], list(TASKS).index
    kinds = {"submission": "an older submission.py", "data": "other DATA"}
    for point in find_points(folder):
        was, state = point.settings, point.state()
        other = [name for name in sorted({*was, *now} - {*OWN}) if was.get(name) != now.get(name)]
        version = ", ".join(f"{kinds.get(name, f'other {name}')} ({str(was.get(name))[:8]})" for name in other)
        row = was | {"point": point, "state": "older" if version and state == "done" else state, "version": version}
        if state == "done":
            row |= point.read("result.json")["metrics"]
            row |= {"recon_loss": row["rec"]} if "rec" in row else {}  # the name in older results
            row["no_better_than_mean"] = row["mse"] >= USELESS * row["mean_picture_mse"]
        else:
            row["reason"] = point.read("failed.json").get("reason", "no result: it was not run, or stopped")
        rows.append(row)
    return sorted(rows, key=lambda row: (row["version"], tasks(row["task"]), *(row[n] for n in (*SETTING[2:], "seed"))))


def name_unfinished(rows, states=("failed", "missing")):
    """Print the points in these states, with reason and log, and the older points; return their number."""
    failed = [row for row in rows if row["state"] in states]
    print(f"{len(failed)} of {len(rows)} points failed:\n" * bool(failed), end="")
    for row in failed:
        log = row["point"].folder / "log.txt"
        print(f"  {row['point'].folder.name}: {row['reason']}" + f"\n    log: {log}" * log.exists())
    older = Counter(row["version"] for row in rows if row["state"] == "older")
    for version, count in older.items():
        print(f"{count} point{' is' if count == 1 else 's are'} of {version}: use --redo to train again")
    return len(failed) + older.total()


def print_status(folder):
    """Print the progress of a sweep; return 1 if points have failed, else 0."""
    rows, queued, halves = read_rows(folder), (), []
    if (folder / "slurm").is_dir():
        try:
            queued = Cluster(folder / "slurm", "points", [], 1).queued()
        except LabError as error:
            print(f"note: it is unknown which points are queued: {error}")
    for row in rows:
        name, epoch = row["point"].folder.name, row["point"].epoch()
        if row["state"] in ("failed", "missing") and name in queued:
            row["state"] = "queued"
        if "score" not in row and epoch:
            halves.append(f"\n  {name}: {row['state']}, epoch {epoch}/{row['epochs']}")
    counts = Counter(row["state"] for row in rows)
    others = ", ".join(f"{counts[state]} {state}" for state in ("running", "queued", "failed", "missing", "older"))
    print(f"{folder}: {counts['done']} of {len(rows)} points done, {others}{''.join(halves)}")
    name_unfinished(rows, ["failed"])
    return min(1, counts["failed"])


def show(rows, column, form):
    """Return the mean of a column over rows ± half of its range, as text."""
    if not all(column in row for row in rows):
        return "-"
    values = [row[column] for row in rows]
    return f"{fmean(values):{form}}" + f" ± {(max(values) - min(values)) / 2:{form}}" * (len(rows) > 1)


def find_best(done):
    """Return {task: (the rows of its best setting, that setting as text)}, for the newest version with results: the
    highest mean score, and at the cap the highest raw score."""
    best, epochs = {}, {row["epochs"] for row in done}
    for (version, task), of_table in groupby(done, itemgetter("version", "task")):
        settings = [list(same) for _, same in groupby(of_table, itemgetter(*SETTING))]
        same = max(settings, key=lambda same: [fmean(row[name] for row in same) for name in ("score", "raw")])
        words = f"latent_dim {same[0]['latent_dim']}, var {same[0]['var']:.15g}"
        words += f", {same[0]['epochs']} epochs" * (len(epochs) > 1)
        words += f": score {show(same, 'score', '.2f')} (raw {show(same, 'raw', '.2f')})"
        best.setdefault(task, (same, words + f", of {version}" * bool(version)))
    return best


def write_markdown(rows, done, best, path):
    """Write one table per version and task with one row per setting, and a table of the points without a result."""
    lines = ["# Sweep", "", "Mean over the seeds ± half of the range. In bold: the best setting."]
    lines += ["† learned no more than the mean picture of the data."] * any(row["no_better_than_mean"] for row in done)
    for (version, task), of_table in groupby(done, itemgetter("version", "task")):
        lines += ["", f"## {task}, of {TASKS[task].cap:g}{f': {version}' * bool(version)}", ""]
        lines += [f"| latent_dim | var | epochs | seeds | {' | '.join(METRICS)} |"]
        lines += ["| ---: " * (len(METRICS) + 4) + "|"]
        for setting, group in groupby(of_table, itemgetter(*SETTING)):
            same, asked = list(group), sum(itemgetter(*SETTING)(row) == setting for row in rows)
            seeds = f"{len(same)}" + f" of {asked}" * (asked > len(same))
            cells = [str(same[0]["latent_dim"]), f"{same[0]['var']:.15g}", str(same[0]["epochs"]), seeds]
            cells += [show(same, column, form) for column, (form, _) in METRICS.items()]
            cells[-1] += " †" * any(row["no_better_than_mean"] for row in same)
            lines += [f"| {' | '.join(f'**{cell}**' if same == best[task][0] else cell for cell in cells)} |"]
        if best[task][0][0]["version"] == version:
            run = max(best[task][0], key=itemgetter("score", "raw"))["point"].folder.name
            lines += ["", f"Best: {best[task][1]}. Its run with the best seed is in `{run}`."]
    rest = [row for row in rows if row not in done]
    lines += ["", "## Points without a result", "", "| point | state | reason |", "| --- | --- | --- |"] * bool(rest)
    lines += [f"| {row['point'].folder.name} | {row['state']} | {row['reason'].replace('|', '/')} |" for row in rest]
    with write_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


def draw_line(axes, rows, x, column, label="", **how):
    """Draw a column's mean over the seeds and its range: a cross marks a value of x without a result, a hollow marker a
    point that is no better than the mean picture."""
    ticks = sorted({row[x] for row in rows})
    at = [[row for row in rows if row[x] == tick and column in row] for tick in ticks]
    values = [[row[column] for row in same] or [float("nan")] for same in at]
    axes.plot(ticks, [fmean(some) for some in values], label=label, **how)
    axes.fill_between(ticks, [min(v) for v in values], [max(v) for v in values], color=how["color"], alpha=0.2, lw=0)
    for tick, same, some in zip(ticks, at, values, strict=True):
        if not same:
            axes.plot(tick, 0.04, "x", color=how["color"], transform=axes.get_xaxis_transform())
        elif any(row["no_better_than_mean"] for row in same):
            axes.plot(tick, fmean(some), **how | {"mfc": "white", "zorder": 4})


def draw_curves(rows, best, x, others, path):
    """Draw the score of each task, then every other metric, against x, with one line per combination of the other
    settings and version. A star marks a task's best setting."""
    lines, ticks, labels, last = {}, sorted({row[x] for row in rows}), [], 0
    for tick in ticks:  # each gets a label, unless it would touch the previous one
        labels.append(f"{tick:.15g}" * (tick >= last * (ticks[-1] / ticks[0]) ** (1 / 22)))
        last = tick if labels[-1] else last
    for row in [row for row in rows if row["task"] in best]:
        lines.setdefault((row["version"], *(row[column] for column in others), row["task"]), []).append(row)
    panels = [(f"{task}: score ↑", "score", {task}) for task in best]
    shown = [column for column, (_, title) in METRICS.items() if title and any(column in row for row in rows)]
    panels += [(METRICS[column][1], column, set(best)) for column in shown]
    named = {"latent_dim", "var", *(name for name in others if len({row[name] for row in rows}) > 1)}
    figure = Figure(figsize=(8, -(-len(panels) // 2) * 2.8 + 0.2 * len(lines) + 0.3), layout="constrained", dpi=100)
    grid = figure.subplots(-(-len(panels) // 2), 2).ravel()
    for axes, (title, column, tasks) in zip(grid, panels, strict=False):
        for number, ((version, *look, task), of_line) in enumerate(lines.items()):
            if task in tasks and any(column in row for row in of_line):
                how = {"color": f"C{number % 10}", "marker": "os"[list(best).index(task)], "ms": 4}
                words = [f"{name} {value:.15g}" for name, value in zip(others, look, strict=True) if name in named]
                label = ", ".join([task, *words, *filter(None, [version])])
                draw_line(axes, of_line, x, column, label, ls=":" if version else "-", lw=1.2, **how)
                if column == "score" and any(row.get("raw") != row.get("score") for row in of_line):
                    draw_line(axes, of_line, x, "raw", ls="--", lw=0.8, **how)
        if column == "score":
            same, words = best[next(iter(tasks))]
            title += " (dashed: before the cap)" * any(line.get_linestyle() == "--" for line in axes.get_lines())
            title += "\n" + fill(f"★ {words}".replace(" ± ", "±"), 60)
            axes.plot(same[0][x], fmean(row["score"] for row in same), "*", color="black", ms=14, zorder=1)
        axes.set_xscale("log")
        axes.set_xlabel(x, fontsize=8)
        axes.set_xticks(ticks, labels, rotation=90 if len(ticks) > 6 else 0)
        axes.minorticks_off()
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn = [line for axes in grid for line in axes.get_lines()]
    marks = ["hollow: no better than the mean picture"] * any(line.get_mfc() == "white" for line in drawn)
    marks += ["×: no result"] * any(line.get_marker() == "x" for line in drawn)
    place, how = figure, {"loc": "outside lower center", "ncols": 2}
    if len(panels) % 2 and len(handles) < 9:  # there is a free cell, and the legend fits into it
        place, how = grid[-1], {"loc": "center"}
    place.legend(handles.values(), handles, title="\n".join(marks), title_fontsize=8, fontsize=8, **how)
    with write_whole(path) as temporary:
        figure.savefig(temporary)


def draw_digits(folder, done, best, x, others):
    """Draw the first picture of each digit over its reconstructions for every x, at each task's best setting, and
    return the names of the sheets. There is none if the reconstructed pictures are missing or have changed."""
    names = []
    for task, ((first, *_), _) in best.items():
        data = Path(first["point"].files["data"])
        if not data.is_file() or sha256(data.read_bytes()) != first["data"]:
            print(f"note: no sheet of digits for {task}, because {data} is missing or has changed")
            continue
        images, labels = load_split(data)
        firsts = [int(np.flatnonzero(labels == digit)[0]) for digit in np.unique(labels)]
        sheet = {"original": images[firsts]}
        for row in sorted(done, key=itemgetter(x, "seed")):
            if all(row[name] == first[name] for name in ("task", "version", *others)):
                with contextlib.suppress(LabError):
                    (recon,) = read_arrays(Run(row["point"].folder).output / "recon.npz", "images")
                    sheet.setdefault(f"{x} {row[x]:.15g}", recon[firsts])
        title = f"{task}, {', '.join(f'{name} {first[name]:.15g}' for name in others)}: the same digits at each {x}"
        names.append(f"digits_{task}.png")
        save_sheet(folder / names[-1], np.stack(list(sheet.values())), title, list(sheet))
    return names


def summarise(folder):
    """Write the summary of a sweep's folder, and remove files of an older summary."""
    rows, written = read_rows(folder), []
    done = [row for row in rows if "score" in row]
    best = find_best(done)
    if rows:
        written = ["summary.csv", "summary.md"]
        write_markdown(rows, done, best, folder / "summary.md")
        with write_whole(folder / "summary.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    if done:
        # The x axis is the setting with the most values.
        x, *others = sorted(["latent_dim", "var", "epochs"], key=lambda column: -len({row[column] for row in rows}))
        draw_curves(rows, best, x, others, folder / "summary.png")
        written += ["summary.png", *draw_digits(folder, done, best, x, others)]
    for path in (*folder.glob("summary.[cmp]*"), *folder.glob("digits_*.png")):
        if path.name not in written:
            path.unlink()
    if not rows:
        raise LabError(f"there are no points in {folder}, so there is no summary.")
    for task, (_, words) in best.items():
        print(f"{task}: best at {words}")
    print(f"{len(done)} of {len(rows)} points have a result; in {folder}: {', '.join(written)}")
