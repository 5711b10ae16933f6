"""Draw the handout's pictures; what needs a trained model is trained first, by the lab's own commands.

    python figs/draw_figs.py            # or: make figs
    python figs/draw_figs.py --list     # print the commands of the runs

The runs go to runs/figs; one that is there already is used as it is, so deleting runs/figs redoes everything (7 minutes
of one core). All of them train the demo MLP of model.py (tests/correct/demo_mlp.py), 10 epochs each. The package for
students lacks that file; there, submission.py is trained, and its pictures go to runs/figs. Four pictures come from
elsewhere: figs/generated.png from `make demo`, figs/sweep.png and figs/sweep_digits.png from the sweep of the reference
that the README shows, figs/compression.png is the summary.png of

    SUBMISSION=tests/correct/demo_mlp.py TASKS=VAEwolabel LATENT_DIMS="2 5 10 20 40 100" sh run_sweep.sh
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import diagrams  # noqa: E402
from diagrams import BLUE, GREEN, GREY, INK, ORANGE, RED, arrow, box, new_figure, save  # noqa: E402

from data_utils import load_split  # noqa: E402
from lab.cli import Parser, run_command  # noqa: E402
from submission_api import (  # noqa: E402
    build_model,
    decode_codes,
    encode_pictures,
    load_checkpoint,
    load_submission,
    load_weights,
)

RUNS = Path("runs/figs")
DEMO = "tests/correct/demo_mlp.py"
SUBMISSION, OUT = (DEMO, HERE) if (ROOT / DEMO).is_file() else ("submission.py", ROOT / RUNS)
CURVES = {  # name → (title, what train.py is given)
    "healthy": ("healthy: --var 0.1", ["--var", "0.1"]),
    "collapse": ("KL collapse: --var 10", ["--var", "10"]),
    "small_var": ("var too small: --var 0.0005", ["--var", "0.0005"]),
    "high_lr": ("learning rate too high: --var 0.1 --lr 0.3", ["--var", "0.1", "--lr", "0.3"]),
}
PLANE_VARS = ("0.5", "0.1", "0.02")  # VAEwolabel with latent_dim 2: codes that can be drawn
LABEL_VARS = ("2", "0.5", "0.1", "0.02", "0.005")  # Genwithlabel


def commands():
    """Yield the commands of the runs, each with the file that says that it is done."""
    train = ["train.py", "--submission", SUBMISSION, "--task"]
    for name, (_, flags) in CURVES.items():
        yield RUNS / name / "epoch_10.pth", [*train, "VAEwolabel", *flags, "--save_dir", str(RUNS / name)]
    for var in PLANE_VARS:
        run = RUNS / f"plane_var{var}"
        yield run / "epoch_10.pth", [*train, "VAEwolabel", "--latent_dim", "2", "--var", var, "--save_dir", str(run)]
    for var in LABEL_VARS:
        run = RUNS / f"label_var{var}"
        yield run / "epoch_10.pth", [*train, "Genwithlabel", "--var", var, "--save_dir", str(run)]
        yield (
            run / "output" / "meta.json",
            ["inference.py", "--task", "Genwithlabel", "--checkpoint_path", str(run / "best.pth")],
        )
        result = run / "grade_result.json"
        folders = ["--Genwithlabel_output_dir", str(run / "output"), "--out", str(result)]
        yield result, ["grade.py", "--task", "Genwithlabel", *folders]


def make_runs():
    """Run what is not done yet; a run that was stopped goes on."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for done, command in commands():
        if (ROOT / done).is_file():
            continue
        if command[0] == "train.py" and (ROOT / done.parent / "config.json").is_file():
            command = [*command, "--load_from_checkpoint"]
        print("python", *command)
        subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


def load_model(run, task):
    """Return a run's best model and its submission."""
    module = load_submission(run / "submission.py")
    checkpoint = load_checkpoint(run / "best.pth")
    model = build_model(module, task, checkpoint["latent_dim"])
    load_weights(model, checkpoint, run / "best.pth")
    return model, module


def draw_story(path):
    """How the model says that a picture comes about: draw z, decode it to a mean, add pixel noise."""
    model, module = load_model(RUNS / "plane_var0.1", "VAEwolabel")
    z = np.float32([[-1.2, 0.9], [0.1, 1.5], [1.3, 0.4], [-0.6, -0.9], [0.8, -1.3]])
    mean = decode_codes(model, module, z, None) / 255
    x = mean + np.random.default_rng(0).normal(0, np.sqrt(0.1), mean.shape)

    figure, axes = new_figure(10, 3.6)
    plane = figure.add_axes((0.03, 0.14, 0.25, 0.7))
    grid = np.linspace(-3, 3, 100)
    density = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / 2)
    plane.contourf(grid, grid, density, levels=8, cmap="Blues", alpha=0.7)
    colors = [f"C{index}" for index in range(len(z))]
    plane.scatter(*z.T, c=colors, s=60, edgecolor="white", zorder=3)
    plane.set(xticks=[], yticks=[], aspect="equal")
    axes.text(1.55, 3.3, "1  draw a code\nz ~ p(z) = N(0, I)", ha="center", va="center", fontsize=10.5, color=INK)
    box(axes, 4.05, 1.75, 1.35, 1.0, "decoder", GREEN, "#f0fff4", 11.5)
    axes.text(4.05, 3.3, "2  decode it", ha="center", va="center", fontsize=10.5, color=INK)
    arrow(axes, (2.9, 1.75), (3.33, 1.75))
    arrow(axes, (4.77, 1.75), (5.3, 1.75))
    axes.text(6.0, 3.3, "mean of p(x | z)", ha="center", va="center", fontsize=10.5, color=INK)
    axes.text(8.3, 3.3, "3  draw x ~ N(mean, var I)", ha="center", va="center", fontsize=10.5, color=INK)
    for row, (color, clean, noisy) in enumerate(zip(colors, mean, x, strict=True)):
        for left, picture in ((0.57, clean), (0.8, noisy)):
            inset = figure.add_axes((left, 0.70 - row * 0.165, 0.06, 0.15))
            inset.imshow(picture, cmap="gray", vmin=0, vmax=1)
            inset.set(xticks=[], yticks=[])
            for spine in inset.spines.values():
                spine.set(color=color, linewidth=2.2)
        height = 3.6 * (0.775 - row * 0.165)
        arrow(axes, (6.4, height), (7.9, height), GREY)
    axes.text(9.35, 1.75, "the lab\nshows and\nscores the\nmean", ha="center", va="center", fontsize=9, color=GREY)
    save(figure, path)


def draw_posterior(path):
    """The codes of the validation pictures as var falls, against the prior."""
    images, labels = load_split("dataset/valid.npz")
    figure = Figure(figsize=(10, 3.9), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(PLANE_VARS))
    angle = np.linspace(0, 2 * np.pi, 200)
    for axes, var in zip(panels, PLANE_VARS, strict=True):
        model, module = load_model(RUNS / f"plane_var{var}", "VAEwolabel")
        codes = encode_pictures(model, module, images, None).astype(float)
        points = axes.scatter(*codes[:4000].T, c=labels[:4000], cmap="tab10", s=3, vmin=-0.5, vmax=9.5)
        for radius in (1, 2):
            axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=INK, linestyle="--", linewidth=1.2)
        edge = max(4.0, np.quantile(np.abs(codes), 0.999) * 1.05)
        spread = codes.std(axis=0)
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal", xlabel="z[0]")
        axes.set_title(f"--var {var}\nstd of mu: {spread[0]:.2f}, {spread[1]:.2f}", fontsize=10)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("z[1]")
    figure.colorbar(points, ax=panels, ticks=range(10), label="digit", shrink=0.85)
    save(figure, path)


def read_history(run):
    """Return a run's history.csv as {column: array}."""
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def draw_curves(path):
    """Loss, reconstruction and KL of four runs, over the steps.

    The dotted line is what a decoder reaches that ignores z and always paints the mean picture: total variance of the
    pixels / (2 var).
    """
    images, _ = load_split("dataset/train.npz")
    covariance = np.cov(images.reshape(len(images), -1).astype(np.float32) / 255, rowvar=False)
    total_variance = covariance.trace()
    strongest = np.linalg.eigvalsh(covariance)[-1]
    print(f"training pixels: total variance {total_variance:.2f}, in the strongest direction {strongest:.2f}")
    figure = Figure(figsize=(10, 6.2), facecolor="white", layout="constrained")
    for axes, (name, (title, flags)) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        history = read_history(RUNS / name)
        for term, color, width in (("rec", BLUE, 3.5), ("kl", ORANGE, 2), ("loss", INK, 1.2)):
            axes.plot(history["step"], history[f"train_{term}"], "--", color=color, linewidth=width / 2)
            last = history[f"valid_{term}"][-1]
            axes.plot(
                history["step"], history[f"valid_{term}"], color=color, linewidth=width, label=f"{term} → {last:,.2f}"
            )
        var = float(flags[1])
        axes.axhline(total_variance / (2 * var), color=RED, linestyle=":", label="loss without any code")
        axes.set_title(title, fontsize=11)
        axes.set(xlabel="step", ylabel="mean over pictures")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=-0.05)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, title="valid (solid), train (dashed)", title_fontsize=8)
    save(figure, path)


def draw_samples(path):
    """What the conditional demo MLP reconstructs and generates as var falls, with what grade.py measures."""
    images, labels = load_split("dataset/valid.npz")
    shown = [np.flatnonzero(labels == digit)[0] for digit in range(0, 10, 2)]
    figure = Figure(figsize=(10, 5.6), facecolor="white")
    figure.text(0.25, 0.94, "reconstructions", ha="center", fontsize=11, color=INK)
    figure.text(0.62, 0.94, "generated from z ~ N(0, I), labels 0 to 9", ha="center", fontsize=11, color=INK)
    rows = len(LABEL_VARS) + 1
    for row, var in enumerate(("originals", *LABEL_VARS)):
        bottom = 0.92 - (row + 1) * 0.91 / rows
        strips = [(images[shown], 0.12, 0.26)]
        if var == "originals":
            title, figures = "originals", ""
        else:
            output = RUNS / f"label_var{var}" / "output"
            with np.load(output / "recon.npz") as recon, np.load(output / "gen.npz") as generated:
                strips = [(recon["images"][shown], 0.12, 0.26), (generated["images"][:, 1], 0.40, 0.44)]
            result = json.loads((RUNS / f"label_var{var}" / "grade_result.json").read_text())["tasks"]["Genwithlabel"]
            title = f"var {var}"
            figures = f"MSE {result['mse']:.4f}\nSSIM {result['ssim']:.3f}\nFID {result['fid']:.2f}\n"
            figures += f"read as asked {result['digit_accuracy']:.2f}"
        for pictures, left, width in strips:
            inset = figure.add_axes((left, bottom, width, 0.85 / rows))
            inset.imshow(np.hstack([np.pad(picture, 1, constant_values=255) for picture in pictures]), cmap="gray")
            inset.set_axis_off()
        figure.text(0.015, bottom + 0.42 / rows, title, va="center", fontsize=10.5, color=INK)
        figure.text(0.855, bottom + 0.42 / rows, figures, va="center", fontsize=8.5, color=INK)
    save(figure, path)


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="only print the commands of the runs")
    if parser.parse_args().list:
        for _, command in commands():
            print("python", *command)
        return
    os.chdir(ROOT)
    make_runs()
    images, _ = load_split("dataset/valid.npz")
    model, module = load_model(RUNS / "healthy", "VAEwolabel")
    recon = decode_codes(model, module, encode_pictures(model, module, images[:1], None), None)
    diagrams.draw_architecture(OUT / "architecture.png", images[0] / 255, recon[0] / 255)
    diagrams.draw_reparameterisation(OUT / "reparameterisation.png")
    diagrams.draw_elbo_gap(OUT / "elbo_gap.png")
    draw_story(OUT / "generative_story.png")
    draw_posterior(OUT / "aggregated_posterior.png")
    draw_curves(OUT / "loss_curves.png")
    draw_samples(OUT / "samples_var.png")


if __name__ == "__main__":
    run_command(main)
