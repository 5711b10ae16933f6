"""Draw the handout's pictures and print the numbers that it quotes; train the models that they need first.

    python figs/draw_figs.py            # or: make figs
    python figs/draw_figs.py --list     # print the commands of the runs

The runs are in runs/figs; an existing run is used as it is, so delete runs/figs to redo everything (about 20 minutes on
one core). All runs train the demo MLP of model.py (examples/demo_mlp.py) for 10 epochs. In the students' package, which
lacks that file, submission.py is trained, and the pictures are written to runs/figs. Four pictures come from elsewhere:
generated.png from `make demo`; sweep.png (summary.png) and sweep_digits.png (digits_VAEwolabel.png) from the sweep of
docs/sweep.md; compression.png is the summary.png of the same sweep with TASKS=VAEwolabel.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import codes  # noqa: E402
import curves  # noqa: E402
import diagrams  # noqa: E402

from data_utils import load_split  # noqa: E402
from lab.cli import run_command  # noqa: E402
from lab.codes import decode_codes  # noqa: E402
from lab.output import META, read_output  # noqa: E402
from lab.run import Run  # noqa: E402
from lab.tasks import TASKS  # noqa: E402

RUNS = Path("runs/figs")
DEMO = "examples/demo_mlp.py"
SUBMISSION, OUT = (DEMO, HERE) if (ROOT / DEMO).is_file() else ("submission.py", ROOT / RUNS)
LOSSES = {  # run → (title, arguments of train.py)
    "healthy": ("healthy: --var 0.1", ["--var", "0.1"]),
    "collapse": ("posterior collapse: --var 10", ["--var", "10"]),
    "small_var": ("var too small: --var 0.0005", ["--var", "0.0005"]),
    "high_lr": ("learning rate too high: --var 0.1 --lr 0.3", ["--var", "0.1", "--lr", "0.3"]),
}
ELBO_VARS = ("0.002", "0.005", "0.01", "0.02", "0.05", "0.2", "0.5", "2")  # VAEwolabel, besides "healthy"
LABEL_VARS = ("2", "0.5", "0.1", "0.02", "0.005")  # Genwithlabel


def commands():
    """Yield the commands of the runs, each with the file that exists once it is done."""
    runs = {RUNS / name: (SUBMISSION, "VAEwolabel", *flags) for name, (_, flags) in LOSSES.items()}
    runs[RUNS / "autoencoder"] = ("figs/autoencoder.py", "VAEwolabel")
    runs[RUNS / "plane"] = (SUBMISSION, "VAEwolabel", "--latent_dim", "2", "--var", "0.1")
    runs |= {RUNS / f"elbo_var{var}": (SUBMISSION, "VAEwolabel", "--var", var) for var in ELBO_VARS}
    runs |= {RUNS / f"label_var{var}": (SUBMISSION, "Genwithlabel", "--var", var) for var in LABEL_VARS}
    for folder, (submission, task, *flags) in runs.items():
        run = Run(folder)
        train = ["train.py", "--submission", submission, "--task", task, *flags, "--save_dir", str(run)]
        yield run.epoch_path(10), train
        if TASKS[task].generates:
            infer = ["inference.py", "--task", task, "--checkpoint_path", str(run.best)]
            yield run.output / META, infer
            folders = [f"--{task}_output_dir", str(run.output), "--out", str(run.result_path)]
            yield run.result_path, ["grade.py", "--task", task, *folders]


def make_runs():
    """Run the commands that are not done yet; a run that was stopped is resumed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for done, command in commands():
        if (ROOT / done).is_file():
            continue
        if command[0] == "train.py" and Run(ROOT / done.parent).config_path.is_file():
            command = [*command, "--load_from_checkpoint"]
        print("python", *command)
        subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


def draw_all():
    images, _ = load_split("dataset/valid.npz")
    model, module = codes.load_model(RUNS / "healthy", "VAEwolabel")
    mu, _ = codes.encode(RUNS / "healthy", "VAEwolabel", images[:1])
    recon = decode_codes(model, module, mu.astype(np.float32), None)
    of_label = {var: RUNS / f"label_var{var}" for var in LABEL_VARS}
    of_elbo = {float(var): RUNS / f"elbo_var{var}" for var in ELBO_VARS} | {0.1: RUNS / "healthy"}

    diagrams.draw_architecture(OUT / "architecture.png", images[0] / 255, recon[0] / 255)
    diagrams.draw_reparameterisation(OUT / "reparameterisation.png")
    diagrams.draw_elbo_gap(OUT / "elbo_gap.png")
    diagrams.compare_gradients()
    codes.draw_autoencoder(OUT / "autoencoder.png", RUNS / "autoencoder")
    codes.draw_story(OUT / "generative_story.png", RUNS / "plane")
    curves.draw_naive(OUT / "naive_estimate.png", RUNS / "healthy")
    losses = {title: (RUNS / name, float(flags[1])) for name, (title, flags) in LOSSES.items()}
    curves.draw_losses(OUT / "loss_curves.png", losses)
    for name in ("healthy", "small_var"):
        codes.describe_codes(name, RUNS / name)
    curves.draw_elbo_var(OUT / "elbo_var.png", of_elbo)
    active = {"2": RUNS / "elbo_var2", "0.5": RUNS / "elbo_var0.5", "0.1": RUNS / "healthy"}
    codes.draw_active_units(OUT / "active_units.png", active, RUNS / "plane")
    curves.draw_samples(OUT / "samples_var.png", of_label)
    codes.draw_posterior(OUT / "aggregated_posterior.png", of_label)
    codes.draw_labels(OUT / "labels.png", {var: of_label[var] for var in ("0.5", "0.02")})
    *_, generated = read_output(Run(of_label["0.5"]).output, "Genwithlabel", len(images), 1000)
    codes.draw_nearest(OUT / "nearest.png", generated)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="only print the commands of the runs")
    if parser.parse_args().list:
        for _, command in commands():
            print("python", *command)
        return
    os.chdir(ROOT)
    make_runs()
    draw_all()


if __name__ == "__main__":
    run_command(main)
