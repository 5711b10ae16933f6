"""Your Bernoulli VAE on binarised MNIST: trains it, prints NELBO, KL and REC, and draws 200 digits.

    python -m experiments.elbo --submission experiments/elbo/submission.py
    python -m experiments.elbo --runs 10                          # mean and standard error
    python -m experiments.elbo --steps 2000 --out runs/quick

Training pictures are binarised anew in every batch, P(pixel = 1) = its grey value; the others once, with a seed of
their own. Where recipes.py is there, --recipe trains other models in the same way.
"""

import itertools
import math
import statistics
import sys
from importlib.util import find_spec

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.elbo", file=sys.stderr)
    sys.exit(2)

from torch.utils.data import Subset

from data_utils import MNISTDataset, set_random_seed
from experiments import runs
from experiments.elbo import HOMEWORK, binarise, fixed_bits
from lab.cli import Parser, number, run_command
from lab.contract import blame, get_function, load_submission
from lab.plots import save_sheet
from trainer import Trainer

RECIPES = {"submission": HOMEWORK}
if find_spec("experiments.elbo.recipes"):  # a student's package does not have it
    from experiments.elbo import recipes

    RECIPES |= recipes.RECIPES
METRICS = ("nelbo", "kl", "rec", "seconds")


def parse_args():
    parser = Parser(prog="python -m experiments.elbo", description=__doc__)
    runs.add_arguments(parser, "elbo")
    parser.add_argument("--runs", type=number(int, 1), default=1, help="how many, with seeds from --seed on")
    parser.add_argument("--latent_dim", type=number(int, 1), default=10, help="dimensions of z")
    text = f"training steps, made whole epochs (default: {HOMEWORK['steps']:,}, or the recipe's)"
    parser.add_argument("--steps", type=number(int, 1), help=text)
    text = f"pictures per step (default: {HOMEWORK['batch_size']}, or the recipe's)"
    parser.add_argument("--batch_size", type=number(int, 1), help=text)
    text = f"learning rate (default: {HOMEWORK['lr']}, or the recipe's)"
    parser.add_argument("--lr", type=number(float, 0, False), help=text)
    parser.set_defaults(recipe=["submission"], iwae=[])
    if len(RECIPES) > 1:
        parser.add_argument("--recipe", nargs="+", choices=RECIPES, help="how to train, and which model")
        text = "also K-sample bounds, of the first run of each recipe"
        parser.add_argument("--iwae", nargs="*", type=number(int, 1), metavar="K", help=text)
        parser.add_argument("--iwae_num", type=number(int, 1), help="... on the first N test pictures (default: all)")
    runs.add_mnist_arguments(parser)
    return parser.parse_args()


def settings_of(recipe, run, args):
    """Return what a run depends on beside the data; what was asked for takes the place of the recipe's own."""
    settings = {"recipe": recipe, "seed": args.seed + run, "latent_dim": args.latent_dim}
    settings |= runs.settings_of(args, ()) if recipe == "submission" else {}
    asked = {name: getattr(args, name) for name in ("steps", "batch_size", "lr")}
    hyper = RECIPES[recipe] | {name: value for name, value in asked.items() if value is not None}
    return settings | {name: value for name, value in hyper.items() if name != "model"}


def run_once(module, run, settings, splits, args):
    """Train one run, or resume it, and return its model and its metrics on the test split; module: the submission."""
    recipe = settings["recipe"]
    module = module if recipe == "submission" else recipes

    def loss_function(model, batch):
        with blame("negative_elbo_bound", module):
            nelbo, kl, rec = model.negative_elbo_bound(batch[0].flatten(1))
        return {"loss": nelbo, "recon_loss": rec, "kl": kl}

    run_dir = args.out / recipe / f"run_{run}"
    set_random_seed(settings["seed"])
    with blame("VAE", module):
        model = (RECIPES[recipe].get("model") or get_function(module, "VAE"))(args.latent_dim)
    train_set = MNISTDataset(*splits[0], transform=binarise, device=args.device)
    valid_set, test_set = (fixed_bits(*split, args.device) for split in splits[1:])
    steps_per_epoch = -(-len(train_set) // settings["batch_size"])
    options = {name: settings[name] for name in ("batch_size", "lr", "schedule", "bf16", "seed") if name in settings}
    options |= {"epochs": -(-settings["steps"] // steps_per_epoch), "pred_step": steps_per_epoch}
    trainer = Trainer(model, loss_function, train_set, valid_set, device=args.device, **options)
    runs.train(trainer, run_dir, settings)

    def measure():
        set_random_seed(settings["seed"])
        terms = trainer.evaluate(test_set)
        return dict(zip(METRICS, (terms["loss"], terms["kl"], terms["recon_loss"], trainer.seconds), strict=True))

    metrics = runs.once(run_dir / "metrics.json", settings, measure)
    if args.iwae and run == 0:
        some = Subset(test_set, range(len(test_set))[: args.iwae_num])
        with trainer.autocast:  # in the arithmetic that it was trained in
            bounds = recipes.bounds_in_parts(model, some, args.iwae, settings["seed"], run_dir, settings)
        metrics |= {"iwae": bounds, "iwae_num": len(some)}
    return model, metrics


def draw_samples(model, recipe, args):
    """Draw 200 pictures x ~ p(x) in one sheet of 10 x 20, and in another their means p(x = 1|z)."""
    set_random_seed(args.seed)
    means = model.sample(200).cpu().unflatten(0, (10, 20)).unflatten(2, (28, 28))
    save_sheet(args.out / f"samples_{recipe}.png", binarise(means), f"200 samples from p(x), {recipe}")
    title = f"the same samples before binarisation: p(x = 1 | z), {recipe}"
    save_sheet(args.out / f"means_{recipe}.png", means, title)


def summarise(metrics):
    """Return the mean of each metric over the runs, its standard error (NAME_se; None for one run), and the runs."""
    summary = {}
    for name in METRICS:
        values = [of_run[name] for of_run in metrics]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        summary |= {name: statistics.mean(values), f"{name}_se": error}
    return summary | {"runs": metrics}


def main():
    args = parse_args()
    module = load_submission(args.submission) if "submission" in args.recipe else None
    # Recipes take turns, so that whatever else the machine does falls on all of them.
    turns = itertools.product(range(args.runs), dict.fromkeys(args.recipe))
    settings = {(run, recipe): settings_of(recipe, run, args) for run, recipe in turns}
    for (run, recipe), of_run in settings.items():
        runs.check_settings(args.out / recipe / f"run_{run}", of_run)
    splits, metrics = runs.load_mnist(args), {recipe: [] for recipe in args.recipe}
    data = runs.describe_data(splits)
    for (run, recipe), of_run in settings.items():
        model, measured = run_once(module, run, of_run | data, splits, args)
        metrics[recipe].append(measured)
        if run == 0:
            draw_samples(model, recipe, args)

    results = {recipe: settings[0, recipe] | summarise(of_runs) for recipe, of_runs in metrics.items()}
    shared = {"submission": results.get("submission", {}).get("submission")} | data
    hidden = {"runs"}.union(*settings.values())
    runs.report(args.out / "elbo.json", "recipe", results, shared, args, hidden)
    for recipe, (first, *_) in metrics.items():
        for k, bound in first.get("iwae", {}).items():
            text = f"{k} importance samples, the first {first['iwae_num']:,} test pictures"
            print(f"{recipe}: log p(x) >= {bound:.2f} ({text})")
        if "classic" in results and recipe != "classic":
            ratio = results[recipe]["seconds"] / results["classic"]["seconds"]
            print(f"{recipe}: trained in {ratio:.2f} times the time of classic")
    print(f"runs of each: {args.runs}; written to {args.out / 'elbo.json'}; 200 digits in {args.out}/samples_*.png")


if __name__ == "__main__":
    run_command(main)
