"""Your Bernoulli VAE on binarised MNIST: trains it, prints NELBO, KL and REC, and draws 200 digits.

    python -m experiments.elbo --submission experiments/elbo/submission.py
    python -m experiments.elbo --runs 10                          # mean and standard error
    python -m experiments.elbo --steps 2000 --out runs/quick

Training pictures are binarised anew in every batch, P(pixel = 1) = its grey value; the others once, with a seed of
their own. Where recipes.py is there, --recipe trains other models in the same way.
"""

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
from lab.files import sha256, write_json
from lab.plots import save_sheet
from trainer import Trainer

RECIPES = {"submission": HOMEWORK}
if find_spec("experiments.elbo.recipes"):  # a student's package does not have it
    from experiments.elbo import recipes

    RECIPES |= recipes.RECIPES
METRICS = ("nelbo", "kl", "rec", "seconds")


def parse_args():
    parser = Parser(prog="python -m experiments.elbo", description=__doc__)
    runs.add_submission_argument(parser, "elbo")
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
        recipes.add_arguments(parser, RECIPES)
    runs.add_mnist_arguments(parser)
    runs.add_arguments(parser, "runs/elbo")
    return parser.parse_args()


def hyperparameters(recipe, args):
    """Return those of the recipe, with those that were asked for in their place."""
    asked = {name: getattr(args, name) for name in ("steps", "batch_size", "lr")}
    hyper = RECIPES[recipe] | {name: value for name, value in asked.items() if value is not None}
    return {name: value for name, value in hyper.items() if name != "model"}


def settings_of(recipe, run, args):
    """Return what a run depends on beside the data."""
    settings = {"recipe": recipe, "seed": args.seed + run, "latent_dim": args.latent_dim}
    if recipe == "submission":
        settings["submission"] = sha256(args.submission.read_bytes())[:16]
    return settings | hyperparameters(recipe, args)


def run_once(recipe, run, splits, args):
    """Train one run, or resume it, and return its model and its metrics on the test split."""
    module = load_submission(args.submission) if recipe == "submission" else recipes

    def loss_function(model, batch):
        with blame("negative_elbo_bound", module):
            nelbo, kl, rec = model.negative_elbo_bound(batch[0].flatten(1))
        return {"loss": nelbo, "recon_loss": rec, "kl": kl}

    seed, run_dir, hyper = args.seed + run, args.out / recipe / f"run_{run}", hyperparameters(recipe, args)
    set_random_seed(seed)
    with blame("VAE", module):
        model = (RECIPES[recipe].get("model") or get_function(module, "VAE"))(args.latent_dim)
    train_set = MNISTDataset(*splits[0], transform=binarise, device=args.device)
    steps_per_epoch = -(-len(train_set) // hyper["batch_size"])
    trainer = Trainer(
        model,
        loss_function,
        train_set,
        fixed_bits(*splits[1], args.device),
        epochs=-(-hyper.pop("steps") // steps_per_epoch),
        seed=seed,
        pred_step=steps_per_epoch,
        device=args.device,
        **hyper,
    )
    settings = settings_of(recipe, run, args) | runs.describe_data(splits)
    runs.train(trainer, run_dir, runs.without_test(settings))
    test_set = fixed_bits(*splits[2], args.device)

    def measure():
        set_random_seed(seed)
        terms = trainer.evaluate(test_set)
        return dict(zip(METRICS, (terms["loss"], terms["kl"], terms["recon_loss"], trainer.seconds), strict=True))

    metrics = runs.once(run_dir / "metrics.json", settings, measure)
    model.eval()
    if args.iwae and run == 0:
        some = Subset(test_set, range(len(test_set))[: args.iwae_num])
        with trainer.autocast:  # in the arithmetic that it was trained in
            bounds = recipes.bounds_in_parts(model, some, args.iwae, seed, run_dir, settings)
        metrics |= {"iwae": bounds, "iwae_num": len(some)}
    return model, metrics


def draw_samples(model, recipe, args):
    """Draw 200 pictures x ~ p(x) in one sheet of 10 x 20, and in another their means p(x = 1|z)."""
    set_random_seed(args.seed)
    means = model.sample(200).cpu().unflatten(0, (10, 20)).unflatten(2, (28, 28))
    for name, pictures, title in (
        ("samples", binarise(means), "200 samples from p(x)"),
        ("means", means, "the same samples before binarisation: p(x = 1 | z)"),
    ):
        save_sheet(args.out / f"{name}_{recipe}.png", pictures, f"{title}, {recipe}")


def summarise(metrics):
    """Return the mean of each metric over the runs, and its standard error, NAME_se, None for a single run."""
    summary = {}
    for name in METRICS:
        values = [of_run[name] for of_run in metrics]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        summary |= {name: statistics.mean(values), f"{name}_se": error}
    return summary


def main():
    args = parse_args()
    for run in range(args.runs):
        for recipe in args.recipe:
            runs.check_settings(args.out / recipe / f"run_{run}", settings_of(recipe, run, args))
    splits, metrics = runs.load_mnist(args), {recipe: [] for recipe in args.recipe}
    # Recipes take turns, so that whatever else the machine does falls on all of them.
    for run in range(args.runs):
        for recipe, of_runs in metrics.items():
            model, of_run = run_once(recipe, run, splits, args)
            of_runs.append(of_run)
            if run == 0:
                draw_samples(model, recipe, args)

    summaries = {recipe: summarise(of_runs) for recipe, of_runs in metrics.items()}
    of_recipes = {
        recipe: settings_of(recipe, 0, args) | summary | {"runs": metrics[recipe]}
        for recipe, summary in summaries.items()
    }
    submission = of_recipes.get("submission", {}).get("submission")
    settings = {"submission": submission} | runs.describe_data(splits)
    content = {"settings": settings, "recipes": of_recipes, "machine": runs.describe_machine(args)}
    write_json(args.out / "elbo.json", content)
    runs.print_table([{"": recipe, "runs": args.runs} | summary for recipe, summary in summaries.items()])
    for recipe, (first, *_) in metrics.items():
        for k, bound in first.get("iwae", {}).items():
            text = f"{k} importance samples, the first {first['iwae_num']:,} test pictures"
            print(f"{recipe}: log p(x) >= {bound:.2f} ({text})")
        if "classic" in summaries and recipe != "classic":
            ratio = summaries[recipe]["seconds"] / summaries["classic"]["seconds"]
            print(f"{recipe}: trained in {ratio:.2f} times the time of classic")
    print(f"written to {args.out / 'elbo.json'}; 200 digits in {args.out}/samples_*.png")


if __name__ == "__main__":
    run_command(main)
