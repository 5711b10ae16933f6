"""Score what inference.py wrote, by the formulas of the handout's section 4.

    python grade.py                                             # the newest output of each task
    python grade.py --task VAEwolabel                           # one task only
    python grade.py --Genwithlabel_output_dir runs/Genwithlabel/NAME/output --out runs/grade_result.json

Prints a table of the terms and writes the same as JSON.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import structural_similarity

from classifier import read_digits
from data_utils import load_split
from lab.cli import LabError, run_command
from lab.files import newest, write_whole

HERE = Path(__file__).parent
PIXELS = 28 * 28
MOSAIC = 25  # pictures in one call of structural_similarity: as float64 they fit in a core's cache
MARGIN = 3  # half of its 7 x 7 window
GEN_NUM = 1000  # generated pictures of each digit that are scored
NEAR_COPY_MSE = 0.001  # closer than any digit but a 1 comes to the training pictures by chance
NEAR_COPY_NUM = 100  # generated pictures of each digit that are compared with all its training pictures
CAPS = {"VAEwolabel": 10.0, "Genwithlabel": 30.0}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test_data_path", type=Path, default=Path("dataset/valid.npz"))
    parser.add_argument("--task", choices=CAPS, help="default: both")
    for task in CAPS:
        parser.add_argument(f"--{task}_output_dir", type=Path, help="default: the output of the task's newest run")
    parser.add_argument("--gen_cap", type=float, default=CAPS["Genwithlabel"], help="most points for Genwithlabel")
    parser.add_argument("--out", type=Path, default=Path("runs/grade_result.json"))
    return parser.parse_args()


def mse(real, recon):
    """Return the mean squared error over pictures and pixels in [0, 1]; both are uint8 [N, 28, 28]."""
    difference = real.astype(np.int32) - recon
    return float((difference * difference).sum(dtype=np.int64) / (difference.size * 255**2))


def ssim(real, recon):
    """Return scikit-image's structural similarity (Wang et al. 2004), mean over pictures uint8 [N, 28, 28].

    Pictures are stacked to a tall mosaic, so that one call serves many; the rows and columns in which a window would
    reach over a picture's edge are left out of its mean, as scikit-image leaves them out of a single picture's.
    """
    inside = slice(MARGIN, 28 - MARGIN)
    total = 0.0
    for start in range(0, len(real), MOSAIC):
        a, b = (images[start : start + MOSAIC].reshape(-1, 28) for images in (real, recon))
        _, full = structural_similarity(a, b, data_range=255, full=True)
        total += full.reshape(-1, 28, 28)[:, inside, inside].mean(axis=(1, 2)).sum()
    return float(total / len(real))


def fid_diagonal(real, real_labels, generated):
    """Return the simplified FID: per digit, the squared Fréchet distance between Gaussians with diagonal covariance
    fitted to pixels in [0, 1], sum((mean_r - mean_g)²) + sum((std_r - std_g)²); the mean over the digits.

    real: uint8 [N, 28, 28] with labels [N]; generated: uint8 [10, n, 28, 28]. Digits that `real` lacks are left out.
    Source: Heusel et al. (2017), equation 6, for diagonal covariances.
    """
    distances = []
    for digit in np.unique(real_labels):
        (mean_r, std_r), (mean_g, std_g) = map(moments, (real[real_labels == digit], generated[digit]))
        distances.append(((mean_r - mean_g) ** 2).sum() + ((std_r - std_g) ** 2).sum())
    return float(np.mean(distances))


def moments(images):
    """Return each pixel's mean and standard deviation, in [0, 1], of pictures uint8 [N, 28, 28]."""
    flat = images.reshape(len(images), -1).astype(np.float32)  # sums of integers, exact up to 2²⁴
    mean = flat.mean(axis=0, dtype=np.float64)
    variance = np.einsum("np,np->p", flat, flat, dtype=np.float64) / len(flat) - mean**2
    return mean / 255, np.sqrt(variance.clip(min=0)) / 255


def fid_full(real, generated):
    """Return the squared Fréchet distance between Gaussians with full covariance, over all digits at once:
    |mean_r - mean_g|² + tr(C_r + C_g - 2 (C_r C_g)^(1/2)), pixels in [0, 1].

    real: uint8 [N, 28, 28]; generated: uint8 [10, n, 28, 28]. Source: Heusel et al. (2017), equation 6, on pixels.
    """
    flat = [images.reshape(-1, PIXELS).astype(np.float32) / 255 for images in (real, generated)]
    mean_r, mean_g = (pixels.mean(axis=0, dtype=np.float64) for pixels in flat)
    cov_r, cov_g = (np.cov(pixels, rowvar=False, bias=True).astype(np.float64) for pixels in flat)
    # tr (C_r C_g)^(1/2) = tr (S C_g S)^(1/2) with S = C_r^(1/2): symmetric, so its eigenvalues are cheap and real.
    values, vectors = np.linalg.eigh(cov_r)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_g @ root).clip(min=0)).sum()
    return float(((mean_r - mean_g) ** 2).sum() + np.trace(cov_r) + np.trace(cov_g) - 2 * cross)


def near_copies(generated, train_images, train_labels):
    """Return the share of generated pictures whose nearest training picture of the same digit is closer than an MSE of
    NEAR_COPY_MSE; of the first NEAR_COPY_NUM of each digit. generated: uint8 [10, n, 28, 28]."""
    close = []
    for digit, images in enumerate(generated[:, :NEAR_COPY_NUM]):
        a = images.reshape(len(images), PIXELS).astype(np.float32) / 255
        b = train_images[train_labels == digit].reshape(-1, PIXELS).astype(np.float32) / 255
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T  # |a - b|², [n, M]
        close.append(squared.min(axis=1) < NEAR_COPY_MSE * PIXELS)
    return float(np.mean(close))


def bonus(latent_dim):
    """Return the factor for compression, 0.2 + R with R = 1 - latent_dim / 784."""
    return 0.2 + (1 - latent_dim / PIXELS)


def score_terms(figures):
    """Return each term of a task's score before the bonus, as {name: (points, most points)}."""
    if "fid" not in figures:
        return {"SSIM": (5 * figures["ssim"], 5.0), "MSE": (50 * max(0.1 - figures["mse"], 0), 5.0)}
    return {
        "SSIM": (10 * figures["ssim"], 10.0),
        "MSE": (100 * max(0.1 - figures["mse"], 0), 10.0),
        "FID": (max(10 - figures["fid"], 0), 10.0),
    }


def score_generated(real, labels, generated):
    """Return the figures of generated pictures uint8 [10, n, 28, 28] beside real ones uint8 [N, 28, 28], labels [N]."""
    digits = np.repeat(np.arange(10, dtype=np.uint8), generated.shape[1])
    return {
        "fid": fid_diagonal(real, labels, generated),
        "fid_full": fid_full(real, generated),
        "digit_accuracy": float((read_digits(generated.reshape(-1, 28, 28)) == digits).mean()),
        "near_copies": near_copies(generated, *load_split(HERE / "dataset" / "train.npz")),
    }


def score_task(real, labels, recon, codes, generated=None, cap=CAPS["VAEwolabel"]):
    """Return a task's figures, raw score and score.

    real, recon: uint8 [N, 28, 28]; labels: uint8 [N]; codes: float16 [N, latent_dim], those that were decoded to recon;
    generated: uint8 [10, n, 28, 28] for Genwithlabel, else None; cap: the most points.
    """
    figures = {"mse": mse(real, recon), "ssim": ssim(real, recon)}
    if generated is not None:
        figures |= score_generated(real, labels, generated)
    figures["latent_dim"] = codes.shape[1]
    figures["bonus"] = bonus(codes.shape[1])
    figures["raw"] = sum(points for points, _ in score_terms(figures).values()) * figures["bonus"]
    figures["score"] = max(0.0, min(figures["raw"], cap))
    return figures


def read_array(path, name, shape, dtype=np.uint8, at_least=None):
    """Return array `name` of an npz; None in `shape` allows any length, `at_least` bounds its second axis."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[name]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise LabError(f"{path} has no readable array {name!r} ({error}): run inference.py again.") from error
    wanted = f"{np.dtype(dtype)} [{', '.join('N' if size is None else str(size) for size in shape)}]"
    fits = array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not fits:
        raise LabError(
            f"{path}: expected {name} {wanted}, got {array.dtype} {list(array.shape)}: run inference.py on the split "
            "that is graded, without --inf_num."
        )
    if at_least is not None and array.shape[1] < at_least:
        raise LabError(f"{path}: expected {name} to hold at least {at_least} a row, got {array.shape[1]}.")
    return array


def read_pngs(paths):
    """Return pictures uint8 [N, 28, 28] of PNG files."""
    from PIL import Image, UnidentifiedImageError

    images = np.empty((len(paths), 28, 28), np.uint8)
    for index, path in enumerate(paths):
        try:
            image = np.asarray(Image.open(path))
        except (OSError, UnidentifiedImageError) as error:
            raise LabError(f"{path} is missing or is no picture ({error}): run inference.py --png again.") from error
        if image.shape != (28, 28) or image.dtype != np.uint8:
            raise LabError(f"{path}: expected a grey picture uint8 [28, 28], got {image.dtype} {list(image.shape)}.")
        images[index] = image
    return images


def read_output(folder, task, count):
    """Return recon uint8 [N, 28, 28], codes float16 [N, latent_dim] and generated uint8 [10, 1000, 28, 28] (None for
    VAEwolabel) from an output folder of inference.py.

    Without recon.npz or gen.npz the PNG files are read instead, and then `latent_dim` is what meta.json says.
    """
    if not folder.is_dir():
        raise LabError(f"{folder} does not exist: python inference.py --task {task} writes such a folder.")
    meta = read_meta(folder, task)
    if (folder / "recon.npz").is_file():
        recon = read_array(folder / "recon.npz", "images", (count, 28, 28))
        codes = read_array(folder / "recon.npz", "codes", (count, None), np.float16)
        if not np.isfinite(codes).all():
            raise LabError(f"{folder / 'recon.npz'}: codes hold NaN or infinity: run inference.py again.")
    else:
        recon = read_pngs([folder / "recon" / f"recon_{index}.png" for index in range(count)])
        codes = np.empty((count, meta["latent_dim"]), np.float16)
    if task == "VAEwolabel":
        return recon, codes, None
    if (folder / "gen.npz").is_file():
        return recon, codes, read_array(folder / "gen.npz", "images", (10, None, 28, 28), at_least=GEN_NUM)[:, :GEN_NUM]
    paths = [folder / "gen" / str(digit) / f"{index}.png" for digit in range(10) for index in range(GEN_NUM)]
    return recon, codes, read_pngs(paths).reshape(10, GEN_NUM, 28, 28)


def read_meta(folder, task):
    """Return meta.json of an output folder, after checking that it is of this task."""
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text())
        stored_task, latent_dim = meta["task"], meta["latent_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is missing or damaged ({error}): run inference.py again.") from error
    if stored_task != task:
        raise LabError(f"{folder} holds {stored_task}, expected {task}: give it as --{stored_task}_output_dir.")
    if type(latent_dim) is not int or latent_dim < 1:
        raise LabError(f"{path}: expected latent_dim to be a whole number of at least 1, got {latent_dim!r}.")
    return meta


def describe_gains(figures, cap):
    """Return a sentence that says which terms have most to gain, in points before the cap."""
    if figures["score"] >= cap:
        return "at its cap"
    gains = {name: (most - points) * figures["bonus"] for name, (points, most) in score_terms(figures).items()}
    gains["latent_dim"] = figures["raw"] / figures["bonus"] * (bonus(0) - figures["bonus"])
    ranked = sorted(gains.items(), key=lambda item: -item[1])
    return f"{cap - figures['score']:.2f} below its cap; at most to gain: " + ", ".join(
        f"{n} {v:.2f}" for n, v in ranked
    )


def print_table(results, caps):
    """Print one row a term, one column a task."""
    names = {
        "mse": "MSE",
        "ssim": "SSIM",
        "fid": "FID (diagonal)",
        "fid_full": "  Fréchet distance, full covariance",
        "digit_accuracy": "  digit accuracy",
        "near_copies": "  near-copies of training pictures",
        "latent_dim": "latent_dim",
        "bonus": "bonus",
        "raw": "raw",
        "score": "score",
    }
    print(f"\n{'':36}" + "".join(f"{task:>14}" for task in results))
    for key, name in names.items():
        cells = [
            f"{figures[key]:>14.4f}" if isinstance(figures.get(key), float) else f"{figures.get(key, '-'):>14}"
            for figures in results.values()
        ]
        print(f"{name:36}" + "".join(cells))
    print(f"{'of':36}" + "".join(f"{caps[task]:>14.4f}" for task in results) + "\n")
    for task, figures in results.items():
        print(f"{task}: {describe_gains(figures, caps[task])}")


def main():
    args = parse_args()
    caps = CAPS | {"Genwithlabel": args.gen_cap}
    real, labels = load_split(args.test_data_path)
    folders = {}
    for task in [args.task] if args.task else CAPS:
        meta = newest(Path("runs") / task, "*/output/meta.json")
        folder = getattr(args, f"{task}_output_dir") or (meta and meta.parent)
        if folder is not None:
            folders[task] = folder
    if not folders:
        raise LabError("there is nothing to grade: run inference.py first, or give --VAEwolabel_output_dir.")

    results, pictures = {}, []
    for task, folder in folders.items():
        best, meta = folder.parent / "best.pth", folder / "meta.json"
        if best.is_file() and meta.is_file() and best.stat().st_mtime > meta.stat().st_mtime:
            print(
                f"note: {best} is newer than its output, which is graded here: to grade the newer one, first run "
                f"python inference.py --task {task} --checkpoint_path {best}",
                file=sys.stderr,
            )
        results[task] = score_task(real, labels, *read_output(folder, task, len(real)), cap=caps[task])
        results[task]["output_dir"] = str(folder)
        pictures += [str(path) for path in sorted(folder.glob("*.png"))]
    print_table(results, caps)
    result = {
        "status": "ok",
        "test_data": str(args.test_data_path),
        "tasks": results,
        "score": sum(figures["score"] for figures in results.values()),
        "pictures": pictures,
        "versions": {"numpy": np.__version__, "scikit-image": skimage.__version__},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(args.out) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    run_command(main)
