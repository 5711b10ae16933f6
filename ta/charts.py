"""The charts of a class's report, as SVG."""

import base64
import io
from collections import Counter

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.tasks import TASKS, all_sections

TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # of latent_dim
BAR_COLOURS = {"not filled in": "#8c959f", "wrong": "#bf8700"}  # whatever else went wrong is red


def draw_charts(students):
    """Return the report's charts as {image: address of an SVG, caption}."""
    tasks = {task: [student["tasks"][task] for student in students] for task in TASKS}
    tasks = {task: [one for one in some if one["status"] == "ok"] for task, some in tasks.items()}
    histogram, axes = new_chart("points for quality, in percent of the maximum", "students")
    for task, scored in tasks.items():
        percent = [100 * one["score"] / TASKS[task].cap for one in scored]
        axes.hist(percent, bins=range(0, 105, 5), alpha=0.6, label=task)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    histogram.legend(loc="outside upper center", ncols=2)

    compression, axes = new_chart("latent_dim", "raw score, in percent of the maximum")
    for task, scored in tasks.items():
        raw = [100 * one["raw"] / TASKS[task].cap for one in scored]
        axes.scatter([one["latent_dim"] for one in scored], raw, s=18, alpha=0.6, label=task)
    if not any(tasks.values()):
        axes.set_xlim(1, 784)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, list(map(str, TICKS)))
    axes.minorticks_off()
    widths = [one["latent_dim"] for scored in tasks.values() for one in scored] or [1, 784]
    axes.set_xlim(min(widths) / 1.3, max(widths) * 1.3)
    compression.legend(loc="outside upper center", ncols=2)

    failures = Counter(
        (check["section"], check["status"])
        for student in students
        for task in student["tasks"].values()
        for check in task["checks"]
        if check["points"] != check["max_points"]
    )
    checks, axes = new_chart("students", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    per_section = Counter(section for section, _ in failures.elements())
    sections = sorted(all_sections(), key=lambda section: per_section[section])
    labels = [f"{number} {all_sections()[number][0].title}" for number in sections]
    left = np.zeros(len(sections))
    for status in (*BAR_COLOURS, "other failures"):
        kinds = [status] if status in BAR_COLOURS else sorted({kind for _, kind in failures} - set(BAR_COLOURS))
        widths = [sum(failures[section, kind] for kind in kinds) for section in sections]
        axes.barh(labels, widths, left=left, color=BAR_COLOURS.get(status, "#cf222e"), label=status)
        left += widths
    axes.set_xlim(0, max(1, 1.05 * left.max()))
    checks.legend(loc="outside upper center", ncols=3)
    return [
        {"image": to_svg(histogram), "caption": "Scores on the hidden test set, for the students whose code ran."},
        {"image": to_svg(compression), "caption": "Score against latent_dim, before the cap."},
        {"image": to_svg(checks), "caption": "Checks that did not pass, the most frequent failures on top."},
    ]


def new_chart(x_title, y_title):
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_svg(figure):
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "vae-lab"}):  # the same results give the same page
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
