"""Your Bernoulli VAE on binarised MNIST: trains it, prints NELBO, KL and REC, and draws 200 digits.

    python -m experiments.elbo --submission experiments/elbo/submission.py
    python -m experiments.elbo --submission experiments/elbo/submission.py --runs 10    # mean and standard error
    python -m experiments.elbo --submission experiments/elbo/submission.py --steps 2000 --out runs/quick

Training pictures are binarised anew in every batch, P(pixel = 1) = its grey value; the others once, with a seed of
their own. Without --submission, the recipes for a tighter bound are run, where recipes.py is there.
"""

import math
import statistics
import sys
from importlib.util import find_spec

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.elbo", file=sys.stderr)
    sys.exit(2)

from data_utils import MNISTDataset, set_random_seed
from experiments.elbo import binarise, fixed_bits
from experiments.runs import (
    add_arguments,
    add_mnist_arguments,
    add_submission_argument,
    check_settings,
    describe_data,
    describe_machine,
    load_mnist,
    once,
    print_table,
    train,
    without_test,
)
from lab.cli import Parser, number, run_command
from lab.contract import blame, get_function, load_submission
from lab.files import sha256, write_json
from lab.plots import save_sheet
from trainer import Trainer

METRICS = ("nelbo", "kl", "rec", "seconds")


def parse_args():
    parser = Parser(description=__doc__)
    add_submission_argument(parser, "elbo")
    parser.add_argument("--steps", type=number(int, 1), default=20_000, help="training steps, made whole epochs")
    parser.add_argument("--runs", type=number(int, 1), default=1, help="how many, with seeds from --seed on")
    parser.add_argument("--z_dim", type=number(int, 1), default=10, help="dimensions of z")
    parser.add_argument("--batch_size", type=number(int, 1), default=100, help="pictures per step")
    parser.add_argument("--lr", type=number(float, 0, False), default=1e-3, help="learning rate")
    add_mnist_arguments(parser)
    add_arguments(parser, "runs/elbo")
    return parser.parse_args()


def run_once(module, run, splits, args):
    """Train one run, or resume it, and return its model and its metrics on the test split."""

    def loss_function(model, batch):
        with blame("negative_elbo_bound", module):
            nelbo, kl, rec = model.negative_elbo_bound(batch[0].flatten(1))
        return {"loss": nelbo, "recon_loss": rec, "kl": kl}

    seed, run_dir = args.seed + run, args.out / f"run_{run}"
    set_random_seed(seed)
    with blame("VAE", module):
        model = get_function(module, "VAE")(args.z_dim)
    train_set = MNISTDataset(*splits[0], transform=binarise, device=args.device)
    steps_per_epoch = -(-len(train_set) // args.batch_size)
    trainer = Trainer(
        model,
        loss_function,
        train_set,
        fixed_bits(*splits[1], args.device),
        epochs=-(-args.steps // steps_per_epoch),
        batch_size=args.batch_size,
        lr=args.lr,
        schedule="constant",
        seed=seed,
        pred_step=steps_per_epoch,
        device=args.device,
    )
    settings = settings_of(args, seed) | describe_data(splits)
    train(trainer, run_dir, without_test(settings))

    def measure():
        set_random_seed(seed)
        terms = trainer.evaluate(fixed_bits(*splits[2], args.device))
        return dict(zip(METRICS, (terms["loss"], terms["kl"], terms["recon_loss"], trainer.seconds), strict=True))

    return model.eval(), once(run_dir / "metrics.json", settings, measure)


def settings_of(args, seed):
    """Return what a run depends on beside the data."""
    names = ("steps", "z_dim", "batch_size", "lr")
    submission = sha256(args.submission.read_bytes())[:16]
    return {"submission": submission, "seed": seed} | {name: getattr(args, name) for name in names}


def draw_samples(model, module, args):
    """Draw 200 pictures x ~ p(x) in one sheet of 10 x 20, and in another their means p(x = 1|z)."""
    set_random_seed(args.seed)
    with blame("VAE.sample", module):
        grey = model.sample(200).cpu().unflatten(0, (10, 20)).unflatten(2, (28, 28))
    save_sheet(args.out / "samples.png", binarise(grey), "200 samples from p(x)")
    save_sheet(args.out / "means.png", grey, "the same samples before binarisation: p(x = 1 | z)")


def main():
    if not any(word.startswith("--submission") for word in sys.argv) and find_spec("experiments.elbo.recipes"):
        from experiments.elbo.recipes import main as run_recipes

        return run_recipes()
    args = parse_args()
    module = load_submission(args.submission)
    for run in range(args.runs):
        check_settings(args.out / f"run_{run}", settings_of(args, args.seed + run))
    splits, metrics = load_mnist(args), []
    for run in range(args.runs):
        model, of_run = run_once(module, run, splits, args)
        metrics.append(of_run)
        if run == 0:
            draw_samples(model, module, args)
    summary = {name: [of_run[name] for of_run in metrics] for name in METRICS}
    means = {name: statistics.mean(values) for name, values in summary.items()}
    errors = {
        name: statistics.stdev(values) / math.sqrt(args.runs) if args.runs > 1 else None
        for name, values in summary.items()
    }
    settings = settings_of(args, args.seed) | describe_data(splits)
    content = {"settings": settings, "runs": metrics, "mean": means, "standard_error": errors}
    write_json(args.out / "elbo.json", content | {"machine": describe_machine(args)})
    print_table([{"": "mean"} | means, {"": "standard error"} | errors])
    print(f"written to {args.out / 'elbo.json'}; 200 digits in {args.out / 'samples.png'}")


if __name__ == "__main__":
    run_command(main)
