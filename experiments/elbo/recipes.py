"""The ELBO of a Bernoulli VAE on binarised MNIST, in nats.

    python -m experiments.elbo                                          # classic and fast, one run each
    python -m experiments.elbo --runs 10 --iwae 1 10 100 1000
    python -m experiments.elbo --recipe classic best --iwae 5000        # log p(x): takes hours

The model: p(z) = N(0, I) with 10 dimensions, p(x|z) = Bernoulli(f(z)) for each pixel, q(z|x) = N(m(x), diag(v(x))).
Training pictures are binarised anew in every batch, P(pixel = 1) = its grey value; the validation and test pictures
once, with a seed of their own, so that all runs are measured on the same bits.
"""

import math
import statistics
import sys
from functools import partial

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.elbo", file=sys.stderr)
    sys.exit(2)

import torch
from torch import nn
from torch.utils.data import Subset
from tqdm import tqdm

from data_utils import MNISTDataset, batches, set_random_seed
from experiments.elbo import TEST_BITS_SEED, binarise, fixed_bits
from experiments.networks import (
    Autoencoder,
    WeightAverage,
    bernoulli_rec,
    kl_to_prior,
    log_gaussian,
    sample_gaussian,
    scale_weights,
)
from experiments.runs import (
    add_arguments,
    add_mnist_arguments,
    check_settings,
    count_parameters,
    describe_data,
    describe_machine,
    load_mnist,
    once,
    print_table,
    train,
    without_test,
)
from lab.cli import Parser, number, run_command
from lab.files import write_json
from lab.plots import save_sheet
from trainer import Trainer

IWAE_PART = 500  # pictures whose importance-weighted bounds are kept at a time
DECODE_AT_ONCE = 500  # pictures in one call of the decoder: bounds the memory of the importance-weighted bound

MLP = {"widths": (300, 300), "activation": nn.ELU}
CONV = {"channels": (32, 64), "kernel": 4, "widths": (256,), "activation": nn.SiLU, "blocks": (1, 2)}
FAST = {"batch_size": 200, "steps": 3_750, "lr": 8e-3, "schedule": "linear", "network": MLP, "gain": 3**0.5}
BEST = {"batch_size": 200, "steps": 5_000, "lr": 3e-3, "schedule": "linear", "network": CONV}
RECIPES = {
    "classic": {"batch_size": 100, "steps": 20_000, "lr": 1e-3, "schedule": "constant", "network": MLP},
    # A step of 200 pictures costs as much as 1.5 to 1.7 steps of 100: 3,750 of them are a third of 20,000, or less.
    "fast": FAST,
    "mixture": FAST | {"network": MLP | {"components": 100}},  # differs from fast only in its prior
    "best": BEST | {"bf16": True, "average": 0.998},
}


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=["classic", "fast"], help="how to train")
    parser.add_argument("--runs", type=number(int, 1), default=1, help="runs of each recipe, with seeds from --seed on")
    parser.add_argument("--steps", type=number(int, 1), help="steps, made whole epochs (default: the recipe's)")
    parser.add_argument(
        "--iwae", nargs="*", type=number(int, 1), default=[], metavar="K", help="also K-sample bounds, of the first run"
    )
    parser.add_argument("--iwae_num", type=number(int, 1), help="... on the first so many test pictures (default: all)")
    parser.add_argument("--latent_dim", type=number(int, 1), default=10, help="dimensions of z")
    add_mnist_arguments(parser)
    add_arguments(parser, "runs/elbo")
    return parser.parse_args()


def negative_elbo_bound(model, x):
    """Return nelbo, kl, rec: scalars in nats, means over the batch, with nelbo = kl + rec >= -log p(x).

        kl  = KL(q(z|x) || p(z))            in closed form for N(0, I), with the same sample of z for a mixture
        rec = -E_q(z|x) [log p(x|z)]        estimated with one sample z ~ q(z|x) for each picture

    model: an Autoencoder; x: float32 [B, *shape] of 0 and 1. The sample is drawn in eval mode too.
    Source: Kingma and Welling (2013), equations 3 and 10.
    """
    m, v = model.encode(x)
    z = sample_gaussian(m, v)
    kl = (log_gaussian(z, m, v) - model.prior().log_prob(z) if model.components else kl_to_prior(m, v)).mean()
    rec = bernoulli_rec(model.decode(z), x).mean()
    return kl + rec, kl, rec


@torch.no_grad()
def iwae_bounds(model, dataset, ks, told="iwae"):
    """Return {k: bound}, the importance-weighted lower bounds of log p(x) in nats, means over a dataset:

        L_k = E[log((1/k) sum_i w_i)],    w_i = p(x, z_i) / q(z_i|x),    z_i ~ q(z|x),    i = 1 ... k

    All k share max(ks) samples a picture, and a smaller k averages over its groups: where each k divides the next, the
    estimates rise with k as the bounds do. Source: Burda et al. (2015), equation 8 and theorem 1.
    """
    most = max(ks)
    totals = dict.fromkeys(sorted(ks), 0.0)
    some = batches(dataset, max(1, DECODE_AT_ONCE // most))
    for x, _ in tqdm(some, desc=told, unit="batch", mininterval=0.5, disable=None):
        log_w = log_weights(model, x, most)
        for k in totals:
            groups = log_w[:, : most // k * k].unflatten(1, (-1, k))
            totals[k] += (groups.logsumexp(dim=2) - math.log(k)).mean(dim=1).sum().item()
    return {k: total / len(dataset) for k, total in totals.items()}


def log_weights(model, x, count):
    """Return log p(x, z_i) - log q(z_i|x) of `count` samples a picture, float64 [B, count], in bounded memory."""
    prior, (m, v) = model.prior(), model.encode(x)
    parts, at_once = [], max(1, DECODE_AT_ONCE // len(x))
    for start in range(0, count, at_once):
        samples = min(at_once, count - start)
        m_i, v_i, x_i = (tensor.repeat_interleave(samples, dim=0) for tensor in (m, v, x))
        z = sample_gaussian(m_i, v_i)
        log_prior_over_q = prior.log_prob(z) - log_gaussian(z, m_i, v_i)
        parts.append((log_prior_over_q - bernoulli_rec(model.decode(z), x_i)).double().view(len(x), samples))
    return torch.cat(parts, dim=1)


def loss_function(model, batch):
    model = model.current() if isinstance(model, WeightAverage) else model
    nelbo, kl, rec = negative_elbo_bound(model, batch[0])
    return {"loss": nelbo, "recon_loss": rec, "kl": kl}


def run_once(recipe, run, splits, args):
    """Train one run, or resume it, and return its model and its metrics on the test split."""
    hyper = RECIPES[recipe]
    seed = args.seed + run
    run_dir = args.out / recipe / f"run_{run}"
    (images, labels), valid, test = splits
    test_set = fixed_bits(*test, args.device)
    set_random_seed(seed)
    model = Autoencoder(images.shape[1:], args.latent_dim, **hyper["network"])
    scale_weights(model, hyper.get("gain", 1))
    parameters = count_parameters(model)
    if "average" in hyper:
        model = WeightAverage(model, hyper["average"])
    train_set = MNISTDataset(images, labels, transform=binarise, device=args.device)
    steps_per_epoch = -(-len(train_set) // hyper["batch_size"])
    trainer = Trainer(
        model,
        loss_function,
        train_set,
        fixed_bits(*valid, args.device),
        epochs=-(-(args.steps or hyper["steps"]) // steps_per_epoch),
        batch_size=hyper["batch_size"],
        lr=hyper["lr"],
        schedule=hyper["schedule"],
        seed=seed,
        bf16=hyper.get("bf16", False),
        pred_step=steps_per_epoch,
        device=args.device,
        extra={"recipe": recipe},
    )
    settings = settings_of(recipe, run, args) | describe_data(splits)
    train(trainer, run_dir, without_test(settings))

    def measure():
        set_random_seed(seed)
        terms = trainer.evaluate(test_set)
        return {
            "nelbo": terms.pop("loss"),
            **terms,
            "steps": trainer.epochs * steps_per_epoch,
            "parameters": parameters,
            "seconds": trainer.seconds,
        }

    metrics = once(run_dir / "metrics.json", settings, measure)
    model = model.eval().current() if "average" in hyper else model.eval()
    if args.iwae and run == 0:
        some = Subset(test_set, range(len(test_set))[: args.iwae_num])
        with trainer.autocast:  # in the arithmetic that it was trained in
            metrics["iwae"] = bounds_in_parts(model, some, args.iwae, seed, run_dir, settings)
        metrics["iwae_test_num"] = len(some)
    return model, metrics


def bounds_in_parts(model, dataset, ks, seed, run_dir, settings):
    """Return iwae_bounds over a dataset, computed part by part; a part that is finished is not repeated."""
    totals = {str(k): 0.0 for k in sorted(ks)}
    for start in range(0, len(dataset), IWAE_PART):
        part = Subset(dataset, range(len(dataset))[start : start + IWAE_PART])
        wanted = settings | {"k": sorted(ks), "iwae_num": len(part)}
        set_random_seed(seed + start)
        told = f"pictures {start + 1} to {start + len(part)} of {len(dataset)}"
        bounds = once(run_dir / f"iwae_{start}.json", wanted, partial(iwae_bounds, model, part, ks, told))
        totals = {k: total + bounds[k] * len(part) / len(dataset) for k, total in totals.items()}
    return totals


def settings_of(recipe, run, args):
    """Return what a run depends on beside the data; `steps` as they were asked for, not made whole epochs."""
    hyper = RECIPES[recipe]
    steps, latent_dim = args.steps or hyper["steps"], args.latent_dim
    settings = {"recipe": recipe, "steps": steps, "seed": args.seed + run, "latent_dim": latent_dim}
    return settings | {name: hyper.get(name) for name in ("batch_size", "lr", "schedule", "gain", "bf16", "average")}


def draw_samples(model, recipe, args):
    """Draw 200 pictures x ~ p(x|z), z ~ p(z) and, in a second sheet, their means p(x = 1|z)."""
    set_random_seed(args.seed)
    means = model.eval().sample(200)
    for name, pictures in (("samples", binarise(means)), ("means", means)):
        rows = pictures.view(10, 20, 28, 28).cpu()
        title = "200 samples from p(x)" if name == "samples" else "the same samples before binarisation: p(x = 1 | z)"
        save_sheet(args.out / f"{name}_{recipe}.png", rows, f"{title}, recipe {recipe}")


def summarise(runs):
    """Return the metrics of a recipe's runs with their mean and standard error."""
    summary = {"runs": runs}
    for name in ("nelbo", "kl", "recon_loss", "seconds"):
        values = [metrics[name] for metrics in runs]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        summary[name] = {"mean": statistics.mean(values), "standard_error": error}
    return summary


def main():
    args = parse_args()
    for run in range(args.runs):
        for recipe in args.recipe:
            check_settings(args.out / recipe / f"run_{run}", settings_of(recipe, run, args))
    splits = load_mnist(args)
    metrics = {recipe: [] for recipe in args.recipe}
    # Recipes take turns, so that whatever else the machine does falls on all of them.
    for run in range(args.runs):
        for recipe in metrics:
            model, of_run = run_once(recipe, run, splits, args)
            metrics[recipe].append(of_run)
            if run == 0:
                draw_samples(model, recipe, args)

    recipes = {recipe: summarise(runs) for recipe, runs in metrics.items()}
    result = {
        "recipes": {recipe: settings_of(recipe, 0, args) | summary for recipe, summary in recipes.items()},
        "test": {"binarised": f"once, seed {TEST_BITS_SEED}", "samples_for_rec": 1},
        "data": describe_data(splits),
        "machine": describe_machine(args),
    }
    if "classic" in recipes:
        classic = recipes["classic"]["seconds"]["mean"]
        result["times_classic"] = {name: summary["seconds"]["mean"] / classic for name, summary in recipes.items()}
    write_json(args.out / "elbo.json", result)
    print_summary(result)
    print(f"written to {args.out / 'elbo.json'}; samples in {args.out}/samples_*.png")


def print_summary(result):
    rows = []
    for recipe, summary in result["recipes"].items():
        row = {"recipe": recipe, "runs": len(summary["runs"])}
        for name in ("nelbo", "kl", "recon_loss", "seconds"):
            row |= {name: summary[name]["mean"], f"±{name}": summary[name]["standard_error"]}
        rows.append(row)
    print_table(rows)
    for recipe, summary in result["recipes"].items():
        first = summary["runs"][0]
        for k, bound in first.get("iwae", {}).items():
            told = f"{k} importance samples, the first {first['iwae_test_num']:,} test pictures"
            print(f"{recipe}: log p(x) >= {bound:.2f} ({told})")
    for recipe, ratio in result.get("times_classic", {}).items():
        if recipe != "classic":
            print(f"{recipe}: trained in {ratio:.2f} times the time of classic")


if __name__ == "__main__":
    run_command(main)
