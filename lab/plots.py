"""The picture of a run's loss."""

import math

from lab.files import write_whole

START = (
    0.1  # share of the rows that may lie above the picture: the fall of the first steps, which flattens all the rest
)
LANDMARK_IN_SIGHT = 3.0  # a landmark up to this many times as high as the curve stretches the axis to be seen


def draw_loss_curve(history, path, landmark=None, show=False):
    """Draw the training and the validation loss over the steps, each with its parts, and write it as PNG.

    history: one dict per validation, as `Trainer.train` returns it; landmark: the loss of a decoder that always paints
    the mean picture, a dotted line; show: also open a window.
    """
    if show:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(8, 4), layout="constrained")
    else:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    steps = [row["step"] for row in history]
    names = dict.fromkeys(key.partition("_")[2] for key in history[0] if key.startswith(("train_", "valid_")))
    for number, name in enumerate(names):
        for split, style in (("train", "--"), ("valid", "-")):
            if f"{split}_{name}" in history[0]:
                values = [row[f"{split}_{name}"] for row in history]
                marker = "." if len(steps) < 30 else ""
                axes.plot(steps, values, style, color=f"C{number}", label=f"{name}, {split}", marker=marker)
    low, high = readable_range(history)
    if landmark is not None:
        is_near = landmark < LANDMARK_IN_SIGHT * high
        high = max(high, landmark) if is_near else high
        label = f"mean picture: {landmark:,.1f}" + ("" if is_near else " (above)")
        axes.axhline(landmark, color="black", linestyle=":", label=label)
    margin = 0.05 * (high - low) or 1
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, mean over pictures")
    figure.legend(loc="outside right upper", fontsize=8)
    axes.grid(alpha=0.3)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)
    if show:
        pyplot.show()


def readable_range(history):
    """Return the (lowest, highest) loss or part of one that the picture must show: all but those of the first rows,
    from 0 where none is negative."""
    later = history[int(START * len(history)) :]
    values = [value for row in later for key, value in row.items() if key.startswith(("train_", "valid_"))]
    finite = [value for value in values if math.isfinite(value)]
    return min(0.0, *finite), max(0.0, *finite)
