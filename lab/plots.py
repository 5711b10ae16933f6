"""Pictures: sheets of digits, and loss curves."""

import base64
import io
import math

import numpy as np

from lab.files import write_whole

START = 0.1  # share of the rows that may exceed the axis: the steep fall at the start would flatten the rest
LANDMARK_IN_SIGHT = 3.0  # the axis is extended for a landmark up to this many times as high as the curve


def draw_loss_curve(history, path, landmark=None, show=False):
    """Plot the training and the validation loss over the steps, each with its parts, and write a PNG.

    history: one dict per validation, as `Trainer.train` returns it; landmark: the loss of a decoder that always outputs
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
    """Return the (lowest, highest) value that the plot must show: all losses and their parts except those of the first
    rows, and 0."""
    later = history[int(START * len(history)) :]
    values = [value for row in later for key, value in row.items() if key.startswith(("train_", "valid_"))]
    finite = [value for value in values if math.isfinite(value)]
    return min(0.0, *finite), max(0.0, *finite)


def to_uint8(images):
    """Return pictures in [0, 1], an array or a tensor, scaled and rounded to uint8."""
    return (np.asarray(images).clip(0, 1) * 255).round().astype(np.uint8)


def tile(rows):
    """Return rows of pictures as one picture uint8, each with a white border; rows as in `save_sheet`."""
    rows = np.asarray(rows)
    rows = rows if rows.dtype == np.uint8 else to_uint8(rows)
    count, columns, height, width = rows.shape[:4]
    padded = np.full((count, columns, height + 2, width + 2, *rows.shape[4:]), 255, np.uint8)
    padded[:, :, 1:-1, 1:-1] = rows
    return np.concatenate(np.concatenate(padded, axis=1), axis=1)


def data_url(picture, greys=256, optimize=False):
    """Return a picture uint8 [H, W] as a PNG in a data URL.

    greys: 256 or 16, with which a sheet of digits takes half as many bytes and looks the same; optimize: as in PIL.
    """
    from PIL import Image

    image = Image.fromarray(np.round(picture / (255 / (greys - 1))).astype(np.uint8), "L" if greys == 256 else "P")
    if greys < 256:
        image.putpalette([round(level * 255 / (greys - 1)) for level in range(greys) for _ in range(3)])
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=optimize, **({"bits": 4} if greys == 16 else {}))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_sheet(path, rows, title, row_titles=None):
    """Draw pictures on a sheet and write a PNG.

    rows: uint8 or float in [0, 1], [R, C, H, W] (grey) or [R, C, H, W, 3]; row_titles: R strings on the left.
    """
    from matplotlib.figure import Figure

    sheet = tile(rows)
    count, columns = len(rows), len(rows[0])

    inch = 0.45  # a picture's width on the sheet
    figure = Figure(figsize=(columns * inch + 1.2, count * inch + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if row_titles is not None:
        height = len(sheet) / count
        axes.set_yticks([(row + 0.5) * height - 0.5 for row in range(count)], row_titles, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)
