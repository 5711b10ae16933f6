"""Makes a drawing look like a picture of MNIST: in a box of 20 x 20 pixels, centred by its mass in 28 x 28."""

import numpy as np
from PIL import Image

BOX, SIZE = 20, 28


def normalise_drawing(ink):
    """Return a drawing uint8 [H, W], white on black, as a picture uint8 [28, 28]; None if nothing is drawn.

    As in MNIST (LeCun et al.), the ink is scaled to fit a box of 20 x 20 pixels without changing its proportions, and
    the box is placed such that its centre of mass is pixel (14, 14), to the nearest pixel.
    """
    rows, columns = np.flatnonzero(ink.max(axis=1)), np.flatnonzero(ink.max(axis=0))
    if len(rows) == 0:
        return None
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BOX), np.float64)
    small *= 255 / small.max()
    top, left = (place(small.sum(axis=1 - axis)) for axis in (0, 1))
    picture = np.zeros((SIZE, SIZE))
    picture[top : top + height, left : left + width] = small
    return picture.round().astype(np.uint8)


def place(mass):
    """Return where a box starts, so that its mass along one side [n] is centred on pixel 14 and it is inside."""
    centre = (mass * np.arange(len(mass))).sum() / mass.sum()
    return int(np.clip(round(SIZE / 2 - centre), 0, SIZE - len(mass)))
