"""An autoencoder, a VAE and a conditional VAE side by side on MNIST, with encoders and decoders of the same sizes.

    python -m experiments.autoencoders
    python -m experiments.autoencoders --latent_dim 2           # codes that can be looked at as they are
    python -m experiments.autoencoders --network conv --epochs 20

The AE minimises the reconstruction alone; the VAE adds KL(q(z|x) || N(0, I)); the CVAE's encoder and decoder also know
the label. One figure and one table set them side by side.
"""

import sys

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.autoencoders", file=sys.stderr)
    sys.exit(2)

import numpy as np
import torch
from torch import nn

from data_utils import MNISTDataset, batches, set_random_seed
from experiments.networks import Autoencoder, gaussian_rec, kl_to_prior, sample_gaussian
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
from grade import fid_diagonal, mse, ssim
from lab.cli import Parser, number, run_command
from lab.diagnostics import fid_full
from lab.files import write_json, write_whole
from lab.plots import save_sheet, tile, to_uint8
from trainer import Diverged, Trainer

KINDS = {"AE": {"variational": False}, "VAE": {}, "CVAE": {"classes": 10}}
NETWORKS = {
    "linear": {"widths": (400, 200), "activation": nn.ReLU},
    "conv": {"channels": (32, 64), "kernel": 4, "widths": (256,), "activation": nn.ReLU},
}
SHOWN = 10  # pictures in a row of the figure
MAP_POINTS = 3000  # codes in a latent map


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="linear", help="what both sides are made of")
    parser.add_argument("--latent_dim", type=number(int, 2), default=10, help="width of the code z")
    parser.add_argument("--var", type=number(float, 0, False), default=0.1, help="variance of p(x|z)")
    parser.add_argument("--epochs", type=number(int, 1), default=10, help="passes over the training pictures")
    parser.add_argument("--batch_size", type=number(int, 1), default=200, help="pictures per step")
    parser.add_argument("--lr", type=number(float, 0, False), default=2e-3, help="peak learning rate")
    parser.add_argument(
        "--gen_num", type=number(int, 1), default=1000, help="generated pictures per digit, for the FID"
    )
    add_mnist_arguments(parser)
    add_arguments(parser, "runs/autoencoders")
    return parser.parse_args()


def make_loss(kind, var):
    """Return the Trainer's loss function of one kind: recon_loss, for the VAEs plus kl, in nats up to a constant."""

    def loss_function(model, batch):
        x, labels = batch
        m, v = model.encode(x, labels)
        recon_loss = gaussian_rec(model.decode(sample_gaussian(m, v), labels), x, var).mean()
        if kind == "AE":
            return {"loss": recon_loss, "recon_loss": recon_loss}
        kl = kl_to_prior(m, v).mean()
        return {"loss": recon_loss + kl, "recon_loss": recon_loss, "kl": kl}

    return loss_function


def run_kind(kind, splits, args):
    """Train and measure one kind, or resume it, and return its trainer and its metrics; a loss that becomes NaN or
    infinite is a result too, with the status "diverged"."""
    set_random_seed(args.seed)
    train_set, valid_set = (MNISTDataset(*split, device=args.device) for split in splits[:2])
    model = Autoencoder((28, 28), args.latent_dim, **KINDS[kind], **NETWORKS[args.network])
    trainer = Trainer(
        model,
        make_loss(kind, args.var),
        train_set,
        valid_set,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
        device=args.device,
        extra={"kind": kind, "latent_dim": args.latent_dim},
    )
    run_dir, settings = args.out / kind, settings_of(kind, args) | describe_data(splits)

    def train_and_measure():
        try:
            train(trainer, run_dir, without_test(settings))
        except Diverged as error:
            return {"status": "diverged", "reason": str(error)}
        model.eval()
        return {"status": "ok", "reason": None} | measure(kind, trainer, splits[2], args)

    metrics = once(run_dir / "metrics.json", settings | {"gen_num": args.gen_num}, train_and_measure)
    if metrics["status"] == "ok" and not trainer.epoch:  # they were measured before: only the weights are missing
        train(trainer, run_dir, without_test(settings))
    model.eval()
    return trainer, metrics


def settings_of(kind, args):
    """Return what a kind's run depends on beside the data."""
    names = ("network", "latent_dim", "var", "epochs", "batch_size", "lr", "seed")
    return {"kind": kind} | {name: getattr(args, name) for name in names}


@torch.no_grad()
def encode_split(model, dataset):
    """Return codes float32 [N, latent_dim], the means of q(z|x), and reconstructions uint8 [N, 28, 28] from them."""
    parts = [(model.encode(x, labels)[0], model.reconstruct(x, labels)) for x, labels in batches(dataset, 1000)]
    codes, recon = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return codes.numpy(), to_uint8(recon)


def generate(model, count, seed):
    """Return pictures uint8 [10, count, 28, 28] from z ~ N(0, I); row d is digit d where the model takes labels."""
    set_random_seed(seed)
    device = next(model.parameters()).device
    digits = [torch.full((count,), digit, device=device) for digit in range(10)]
    return np.stack([to_uint8(model.sample(count, labels).cpu()) for labels in digits])


def measure(kind, trainer, test_split, args):
    """Return a kind's metrics on the test split."""
    model, (images, labels) = trainer.model, test_split
    test_set = MNISTDataset(images, labels, device=args.device)
    codes, recon = encode_split(model, test_set)
    generated = generate(model, args.gen_num, args.seed)
    return {
        "mse": mse(images, recon),
        "ssim": ssim(images, recon),
        # The AE and the VAE draw no digit that was asked for, so all digits are one class here.
        "fid": fid_diagonal(images, np.zeros_like(labels), generated.reshape(1, -1, 28, 28)),
        "fid_full": fid_full(images, generated),
        "fid_per_digit": fid_diagonal(images, labels, generated) if kind == "CVAE" else None,
        "kl": trainer.evaluate(test_set).get("kl"),
        "code_std": float(codes.std(axis=0).mean()),
        "parameters": count_parameters(model),
        "seconds": trainer.seconds,
    }


def latent_map(codes):
    """Return codes [N, latent_dim] seen along their first two principal axes, [N, 2]; the origin stays the origin, so
    that N(0, I) is still N(0, I). Codes of two dimensions are returned as they are."""
    if codes.shape[1] == 2:
        return codes
    return codes @ np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)[2][:2].T


def draw_figure(trainers, test_split, args):
    """Draw the kinds as columns: reconstructions, samples from N(0, I), the latent map."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    images, labels = (array[:MAP_POINTS] for array in test_split)
    test_set = MNISTDataset(images, labels, device=args.device)
    figure = Figure(figsize=(13, 10.5), layout="constrained")
    panels = figure.subplots(3, len(trainers), height_ratios=[0.22, 1, 1], squeeze=False)
    for column, (kind, trainer) in zip(panels.T, trainers.items(), strict=True):
        codes, recon = encode_split(trainer.model, test_set)
        samples = generate(trainer.model, SHOWN, args.seed)
        column[0].imshow(tile([images[:SHOWN], recon[:SHOWN]]), cmap="gray")
        column[0].set_title(f"{kind}\npictures over reconstructions")
        column[1].imshow(tile(samples), cmap="gray")
        asked = ", row d: digit d" if kind == "CVAE" else ""
        column[1].set_title(f"decoded from z ~ N(0, I){asked}")
        points = latent_map(codes)
        dots = column[2].scatter(*points.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=3)
        column[2].set_title("test codes" + ("" if args.latent_dim == 2 else ",\nfirst two principal axes"))
        column[2].add_patch(Circle((0, 0), 2, fill=False, linewidth=2, label="86 % of N(0, I)"))
        column[2].legend(loc="upper right", fontsize=10)
        column[2].set_aspect("equal", "datalim")
        for panel in column[:2]:
            panel.set_axis_off()
        save_sheet(args.out / f"samples_{kind}.png", samples, f"{kind}: {column[1].get_title()}")
    figure.colorbar(dots, ax=panels[2], ticks=range(10), label="digit")
    with write_whole(args.out / "side_by_side.png") as temporary:
        figure.savefig(temporary, dpi=90)


def main():
    args = parse_args()
    for kind in KINDS:
        check_settings(args.out / kind, settings_of(kind, args))
    splits = load_mnist(args)
    trainers, kinds = {}, {}
    for kind in KINDS:
        trainers[kind], kinds[kind] = run_kind(kind, splits, args)
    trained = {kind: trainers[kind] for kind, metrics in kinds.items() if metrics["status"] == "ok"}
    settings = settings_of(None, args) | describe_data(splits) | {"gen_num": args.gen_num}
    del settings["kind"]
    write_json(
        args.out / "autoencoders.json", {"settings": settings, "kinds": kinds, "machine": describe_machine(args)}
    )
    columns = dict.fromkeys(name for metrics in kinds.values() for name in metrics if name != "reason")
    print_table([{"kind": kind} | {name: kinds[kind].get(name) for name in columns} for kind in kinds])
    for kind, metrics in kinds.items():
        if metrics["status"] == "diverged":
            print(f"{kind} diverged: {metrics['reason']}")
    print(f"written to {args.out / 'autoencoders.json'}")
    if trained:
        draw_figure(trained, splits[2], args)
        print(f"the figure is {args.out / 'side_by_side.png'}")


if __name__ == "__main__":
    run_command(main)
