"""Score what inference.py wrote, by the formulas of the handout's section 4.

    python grade.py                                             # the newest output of each task
    python grade.py --task VAEwolabel                           # one task only
    python grade.py --list                                      # all runs with their scores, the best first
    python grade.py --Genwithlabel_output_dir runs/Genwithlabel/NAME/output --out runs/grade_result.json

Prints a table of the terms and writes the same as JSON, also into the folder of each run.
"""

import sys
from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import structural_similarity

from classifier import read_digits
from data_utils import load_split
from lab.cli import LabError, Parser, command, lab_path, run_command
from lab.compare import best_first, table
from lab.files import write_json
from lab.output import read_output, run_of
from lab.run import RUNS, find_runs

PIXELS = 28 * 28
GEN_NUM = 1000  # generated pictures of each digit that are scored
MOSAIC = 25  # pictures in one call of structural_similarity: as float64 they fit in a core's cache
MARGIN = 3  # half of its 7 x 7 window
NEAR_COPY_MSE = 0.001  # closer than any digit but a 1 comes to the training pictures by chance
NEAR_COPY_NUM = 100  # generated pictures of each digit that are compared with all its training pictures
CAPS = {"VAEwolabel": 10.0, "Genwithlabel": 30.0}


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="grade nothing: show all runs, the best score first")
    own = lab_path("dataset/valid.npz")
    parser.add_argument("--test_data_path", type=Path, default=own, help="the split that was reconstructed")
    parser.add_argument("--task", choices=CAPS, help="only this one (default: both)")
    for task in CAPS:
        parser.add_argument(f"--{task}_output_dir", type=Path, help="default: the newest output of the task's runs")
    parser.add_argument("--gen_cap", type=float, default=CAPS["Genwithlabel"], help="maximum points for Genwithlabel")
    parser.add_argument("--out", type=Path, default=RUNS / "grade_result.json", help="the file for the result")
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
        "near_copies": near_copies(generated, *load_split(lab_path("dataset/train.npz"))),
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


def find_outputs(args):
    """Return {task: output folder}: what was asked for, else the newest output among the task's runs."""
    runs, folders = find_runs(), {}
    for task in [args.task] if args.task else CAPS:
        outputs = [run.output for run in runs if run.task == task and (run.output / "meta.json").is_file()]
        newest = max(outputs, key=lambda output: (output / "meta.json").stat().st_mtime, default=None)
        folder = getattr(args, f"{task}_output_dir") or newest
        if folder is not None:
            folders[task] = folder
    if not folders:
        raise LabError(
            f"there is nothing to grade in {RUNS.absolute()}: run inference.py first, or give --{task}_output_dir."
        )
    return folders


def note_newer_run(task, run):
    """Print a note if a task has a run that was trained after the one that is graded."""
    newest = next((other for other in find_runs() if other.task == task and other.best.is_file()), None)
    if newest is not None and newest != run and newest.changed() > run.changed():
        print(
            f"note: {newest} is newer than {run}, which is graded here. To grade the newer one, first:\n"
            f"next: {command('inference.py', '--task', task, '--checkpoint_path', newest.best)}",
            file=sys.stderr,
        )


def list_runs(task, cap):
    """Print the runs of a task, the best score first."""
    runs = [run for run in find_runs(everywhere=True) if run.task == task]
    lines = table(best_first(runs)) if runs else [f"no runs in {RUNS.absolute()}"]
    print("\n".join([f"{task}, of {cap:g}", *lines, ""]))
    if any("(" in line.split()[0] for line in lines):
        print("A score in brackets is outdated: best.pth has changed since. Run inference.py and grade.py again.\n")


def result_of(results, args):
    """Return the result of tasks, {task: figures}, as it is written."""
    folders = [Path(figures["output_dir"]) for figures in results.values()]
    return {
        "status": "ok",
        "test_data": str(args.test_data_path),
        "tasks": results,
        "score": sum(figures["score"] for figures in results.values()),
        "pictures": [str(path) for folder in folders for path in sorted(folder.glob("*.png"))],
        "versions": {"numpy": np.__version__, "scikit-image": skimage.__version__},
    }


def main():
    args = parse_args()
    caps = CAPS | {"Genwithlabel": args.gen_cap}
    if args.list:
        for task in [args.task] if args.task else CAPS:
            list_runs(task, caps[task])
        return
    real, labels = load_split(args.test_data_path)
    results, runs = {}, {}
    for task, folder in find_outputs(args).items():
        output = read_output(folder, task, len(real), GEN_NUM)
        results[task] = score_task(real, labels, *output, cap=caps[task]) | {"output_dir": str(folder)}
        run, total = run_of(folder, task)
        if run is not None:
            runs[task] = run
            results[task] |= {"run": str(run), "checkpoint_sha256": total}
            run.write_result(result_of({task: results[task]}, args))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, result_of(results, args))
    print()
    for task, figures in results.items():
        print(f"{task}: {figures['output_dir']}" + (f"\n  {runs[task].describe()}" if task in runs else ""))
    print_table(results, caps)
    print(f"written to {args.out}")
    for task, run in runs.items():
        note_newer_run(task, run)


if __name__ == "__main__":
    run_command(main)
