"""Score the output of inference.py with the formulas of the handout's section 4.

    python grade.py                                             # the newest output of each task
    python grade.py --task VAEwolabel                           # one task only
    python grade.py --list                                      # all runs with their scores, the best first
    python grade.py --Genwithlabel_output_dir runs/Genwithlabel/NAME/output --out runs/grade_result.json
    python grade.py --gen_cap 10                                # the cap of Genwithlabel in the original handout

Prints a table of the metrics and writes them as JSON, also into the folder of each run.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import structural_similarity

from data_utils import load_split
from lab.cli import Parser, add_data_argument, lab_path, number, run_command
from lab.compare import print_runs
from lab.diagnostics import diagnose
from lab.files import write_json
from lab.output import find_outputs, note_newer_run, read_output, run_of
from lab.run import LAST_RESULT
from lab.scores import print_scores
from lab.tasks import TASKS

PIXELS = 28 * 28
GEN_NUM = 1000  # generated pictures per digit that are scored
MOSAIC = 25  # pictures per call of structural_similarity: as float64 they fit in a core's cache
MARGIN = 3  # half the width of its 7 x 7 window


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="only list all runs, the best score first")
    add_data_argument(parser, "the split that was reconstructed", "--test_data_path")
    parser.add_argument("--task", choices=TASKS, help="grade only this task (default: all)")
    for task in TASKS.values():
        text = "default: the newest output of the task's runs"
        parser.add_argument(f"--{task.name}_output_dir", type=Path, help=text)
        if task.cap_flag:
            text = f"maximum score of {task.name}"
            parser.add_argument(f"--{task.cap_flag}", type=float, default=task.cap, help=text)
    add_gate_argument(parser)
    parser.add_argument("--out", type=Path, default=LAST_RESULT, help="the file for the result")
    args = parser.parse_args()
    chosen = [TASKS[args.task]] if args.task else TASKS.values()
    args.tasks = {task.name: replace(task, cap=getattr(args, task.cap_flag or "-", task.cap)) for task in chosen}
    return args


def add_gate_argument(parser):
    """Add --accuracy_gate, which a course may choose to use."""
    text = "digit accuracy below which the points for FID are reduced in proportion (default: no gate)"
    parser.add_argument("--accuracy_gate", type=number(float, 0, inclusive=False, below=1), metavar="G", help=text)


def mse(real, recon):
    """Return the mean squared error over pictures and pixels in [0, 1]. real, recon: uint8 [N, 28, 28]."""
    difference = real.astype(np.int32) - recon
    return float((difference * difference).sum(dtype=np.int64) / (difference.size * 255**2))


def ssim(real, recon):
    """Return scikit-image's structural similarity (Wang et al. 2004), averaged over pictures uint8 [N, 28, 28].

    Pictures are stacked into a tall mosaic, so that one call handles many; rows and columns where a window would cross
    a picture's edge are excluded from its mean, as scikit-image excludes them for a single picture.
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


def bonus(latent_dim):
    """Return the factor for compression, 0.2 + R with R = 1 - latent_dim / 784."""
    return 0.2 + (1 - latent_dim / PIXELS)


def score_terms(metrics, task):
    """Return each term of a Task's score before the bonus, as {name: (points, maximum points)}.

    With an accuracy gate, a digit accuracy below the gate reduces the points for FID in proportion.
    """
    points = {
        "SSIM": task.terms["SSIM"] * metrics["ssim"],
        "MSE": 10 * task.terms["MSE"] * max(0.1 - metrics["mse"], 0),
    }
    if "FID" in task.terms:
        gate = metrics.get("accuracy_gate")
        share = min(metrics["digit_accuracy"] / gate, 1.0) if gate else 1.0
        points["FID"] = max(task.terms["FID"] - metrics["fid"], 0) * share
    return {name: (value, task.terms[name]) for name, value in points.items()}


def score_task(task, real, labels, recon, codes, generated=None, gate=None):
    """Return the metrics, the raw score and the score of a Task.

    real, recon: uint8 [N, 28, 28]; labels: uint8 [N]; codes: float16 [N, latent_dim], which were decoded to recon;
    generated: uint8 [10, n, 28, 28] if generated pictures are scored, else None; gate: the accuracy gate, if any.
    """
    metrics = {"mse": mse(real, recon), "ssim": ssim(real, recon)}
    if generated is not None:
        train = load_split(lab_path("dataset/train.npz"))
        metrics |= {"fid": fid_diagonal(real, labels, generated)} | diagnose(real, generated, train)
        metrics["accuracy_gate"] = gate
    latent_dim = codes.shape[1]
    metrics |= {"latent_dim": latent_dim, "bonus": bonus(latent_dim)}
    metrics["raw"] = sum(points for points, _ in score_terms(metrics, task).values()) * metrics["bonus"]
    metrics["score"] = max(0.0, min(metrics["raw"], task.cap))
    return metrics


def largest_gains(metrics, task):
    """Return {term: its largest possible gain in points, before the cap}, the largest first."""
    terms = score_terms(metrics, task).items()
    gains = {name: (max_points - points) * metrics["bonus"] for name, (points, max_points) in terms}
    gains["latent_dim"] = metrics["raw"] / metrics["bonus"] * (bonus(0) - metrics["bonus"])
    return dict(sorted(gains.items(), key=lambda item: -item[1]))


def result_of(results, args):
    """Return the content of the result file for results, {task: metrics}."""
    folders = [Path(metrics["output_dir"]) for metrics in results.values()]
    return {
        "status": "ok",
        "test_data": str(args.data),
        "accuracy_gate": args.accuracy_gate,
        "tasks": results,
        "score": sum(metrics["score"] for metrics in results.values()),
        "pictures": [str(path) for folder in folders for path in sorted(folder.glob("*.png"))],
        "versions": {"numpy": np.__version__, "scikit-image": skimage.__version__},
    }


def main():
    args = parse_args()
    if args.list:
        for task in args.tasks.values():
            print_runs(task)
        return
    real, labels = load_split(args.data)
    results, runs = {}, {}
    for name, folder in find_outputs({name: getattr(args, f"{name}_output_dir") for name in args.tasks}).items():
        output = read_output(folder, name, len(real), GEN_NUM)
        metrics = score_task(args.tasks[name], real, labels, *output, args.accuracy_gate)
        results[name] = metrics | {"output_dir": str(folder)}
        run, sha256 = run_of(folder, name)
        if run is not None:
            runs[name] = run
            results[name] |= {"run": str(run), "checkpoint_sha256": sha256}
            run.write_result(result_of({name: results[name]}, args))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, result_of(results, args))

    print()
    for name, metrics in results.items():
        print(f"{name}: {metrics['output_dir']}" + (f"\n  {runs[name].describe()}" if name in runs else ""))
    gains = {name: largest_gains(metrics, args.tasks[name]) for name, metrics in results.items()}
    print_scores(results, args.tasks, gains)
    print(f"wrote {args.out}")
    for name, run in runs.items():
        note_newer_run(name, run)


if __name__ == "__main__":
    run_command(main)
