"""The page as one file, which needs neither Python nor a server: the map, decoded pictures on its plane, the bars."""

import base64
import hashlib
import json

import numpy as np
from tqdm import tqdm

from explorer.server import PAGES
from lab.cli import LabError
from lab.files import write_whole
from lab.plots import data_url

COUNT = 24  # pictures on a side of the grid
SCRIPTS = ("common.js", "map.js", "bars.js", "export.js")
MOST_BYTES = 4_000_000
GREYS = (256, 16)  # of the pictures: the second if the file would otherwise be too large


def write_page(explorer, path):
    """Write the page of an Explorer's checkpoint to a path; raises LabError if the model fails."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise LabError(f"--html {path}: expected the path of a file in an existing folder.")
    data, sheets = collect(explorer)
    for greys in GREYS:
        page = fill(data | {"sheets": [data_url(sheet, greys, optimize=True) for sheet in sheets]})
        if len(page) <= MOST_BYTES:
            break
    with write_whole(path) as temporary:
        temporary.write_bytes(page)
    print(f"{path} ({len(page) / 1e6:.1f} MB) opens with a double click")


def collect(explorer):
    """Return the content of the page: a dict of plain values, and the pictures decoded on the plane, side by side, as
    uint8 [L, 24 * 28, 24 * 28] with L = 10 for a model with labels, else 1."""
    answer = explorer.answer("open", {})
    if "error" in answer:
        raise LabError(answer["error"])
    snapshot = explorer.snapshot({})
    width = snapshot.latent_dim
    plane = np.eye(width)[:2] if width <= 2 else np.array(answer["directions"][:2])
    codes = snapshot.encoded[2].astype(np.float64)
    points = codes @ plane.T
    if width == 1:  # one row per digit, and the grid has equal rows
        points = np.column_stack([points, (explorer.labels - 4.5) / 2.5])
        plane = np.concatenate([plane, [[0.0]]])
    reach = 1.06 * max(2.2, np.quantile(np.abs(points).max(axis=1), 0.998))  # as map.js chooses it
    steps = (2 * np.arange(COUNT) + 1) / COUNT - 1
    grid = reach * np.stack(np.meshgrid(steps, -steps), axis=-1).reshape(-1, 2) @ plane
    digits = range(10) if snapshot.conditional else [0]
    bar = tqdm(digits, desc="decoding", unit="grid", leave=False)
    pictures = [snapshot.decode(grid, np.full(len(grid), digit)) for digit in bar]
    kinds = [f"z[{index}]" for index in range(width)] if width <= 2 else ["component 1", "component 2"]
    loss = "" if snapshot.valid_loss is None else f", validation loss {snapshot.valid_loss:.2f}"
    data = {
        "model": answer["model"],
        "names": f"latent_dim {width}, epoch {snapshot.epoch}{loss}",
        "axes": kinds[:2],
        "count": COUNT,
        "range": reach,
        "x": points[:, 0].round(3).tolist(),
        "y": points[:, 1].round(3).tolist(),
        "digits": answer["digits"],
        "dimensions": answer["dimensions"],
    }
    grids = np.stack(pictures).reshape(-1, COUNT, COUNT, 28, 28)
    return data, grids.swapaxes(2, 3).reshape(-1, COUNT * 28, COUNT * 28)


def fill(data):
    """Return the page as bytes; its policy allows only its own style and script, and no requests."""
    read = {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}
    parts = {"style": read["style.css"], "script": "\n".join(read[name] for name in SCRIPTS)}
    for name in ("style", "script"):
        total = hashlib.sha256(parts[name].encode()).digest()
        parts[f"{name}_hash"] = "sha256-" + base64.b64encode(total).decode()
    parts["data"] = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = read["export.html"]
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page.encode()
