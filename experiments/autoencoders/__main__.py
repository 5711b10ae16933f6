"""An autoencoder, a VAE and a conditional VAE of your submission side by side on MNIST: the pictures of the report.

    python -m experiments.autoencoders
    python -m experiments.autoencoders --latent_size 2           # codes that can be looked at as they are
    python -m experiments.autoencoders --kl_weight 4 --out runs/kl4
    python -m experiments.autoencoders --kinds AE --epochs 2 --train_num 5000     # a quick look at one

The AE minimises the reconstruction alone; the VAE adds KL(q(z|x) || N(0, I)); the CVAE's encoder and decoder also know
the label. One figure and one table set them side by side.
"""

import sys

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.autoencoders", file=sys.stderr)
    sys.exit(2)

import numpy as np
import torch

from data_utils import MNISTDataset, batches, set_random_seed
from experiments import runs
from grade import fid_diagonal, mse, ssim
from lab.cli import Parser, number, run_command
from lab.contract import blame, get_function, load_submission
from lab.files import write_whole
from lab.plots import save_sheet, tile, to_uint8
from trainer import Trainer

KINDS = {  # kind → class and loss of the submission
    "AE": ("AutoEncoder", "ae_loss"),
    "VAE": ("VariationalAutoEncoder", "vae_loss"),
    "CVAE": ("ConditionalVariationalAutoEncoder", "cvae_loss"),
}
X_DIM = 28 * 28
SHOWN = 10  # pictures in a row of the figure
MAP_POINTS = 3000  # codes in a latent map
SETTINGS = ("latent_size", "hidden_size", "rec_weight", "kl_weight", "epochs", "batch_size", "lr", "seed")


def parse_args():
    parser = Parser(prog="python -m experiments.autoencoders", description=__doc__)
    runs.add_arguments(parser, "autoencoders")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which to train")
    parser.add_argument("--latent_size", type=number(int, 2), default=10, help="width of the code z")
    parser.add_argument("--hidden_size", type=number(int, 1), default=400, help="width of the hidden layers")
    parser.add_argument("--rec_weight", type=number(float, 0), default=1.0, help="weight of the reconstruction loss")
    parser.add_argument("--kl_weight", type=number(float, 0), default=1.0, help="weight of the KL term")
    parser.add_argument("--epochs", type=number(int, 1), default=10, help="passes over the training pictures")
    parser.add_argument("--batch_size", type=number(int, 1), default=200, help="pictures per step")
    parser.add_argument("--lr", type=number(float, 0, False), default=2e-3, help="peak learning rate")
    text = "generated pictures per digit, for the FID"
    parser.add_argument("--gen_num", type=number(int, SHOWN), default=1000, help=text)
    runs.add_mnist_arguments(parser)
    return parser.parse_args()


class StudentTrainer(Trainer):
    """The Trainer with the training step of the submission `module`."""

    def step(self, batch):
        with blame("train_step", self.module):
            losses = get_function(self.module, "train_step")(self.model, self.optimizer, self.loss_function, batch)
        runs.require_finite(losses["loss"], "the loss")
        return losses


def build(module, kind, args):
    """Return the submission's model of a kind, with an encoder and a decoder for it."""
    sizes, labels = (args.hidden_size, args.latent_size), 10 * (kind == "CVAE")
    with blame(kind, module):
        encoder = get_function(module, "Encoder")(X_DIM + labels, *sizes, is_dist=kind != "AE")
        decoder = get_function(module, "Decoder")(X_DIM, *sizes, decode_type=kind)
        return get_function(module, KINDS[kind][0])(encoder, decoder)


def make_loss(module, kind, args):
    """Return the Trainer's loss function of one kind."""
    name = KINDS[kind][1]

    def loss_function(model, batch):
        xs, ys = batch
        with blame(name, module):
            loss = get_function(module, name)
            return loss(model, xs.flatten(1), ys, rec_weight=args.rec_weight, kl_weight=args.kl_weight)

    return loss_function


def run_kind(module, kind, settings, splits, args):
    """Train and measure one kind, or resume it, and return its model and its metrics; settings: those of all kinds."""
    set_random_seed(args.seed)
    train_set, valid_set, test_set = (MNISTDataset(*split, device=args.device) for split in splits)
    options = {name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "seed", "device")}
    trainer = StudentTrainer(build(module, kind, args), make_loss(module, kind, args), train_set, valid_set, **options)
    trainer.module = module
    settings, run_dir = {"kind": kind} | settings, args.out / kind

    def measure():
        codes, recon = encode_split(trainer.model, kind, test_set)
        generated = generate(trainer.model, kind, args.gen_num, args)
        terms, (images, labels) = trainer.evaluate(test_set), splits[2]
        return {
            "recon_loss": terms["recon_loss"],
            "kl": terms.get("kl"),
            "mse": mse(images, recon),
            "ssim": ssim(images, recon),
            # The AE and the VAE draw no digit that was asked for, so all digits are one class here.
            "fid": fid_diagonal(images, np.zeros_like(labels), generated.reshape(1, -1, 28, 28)),
            "fid_per_digit": fid_diagonal(images, labels, generated) if kind == "CVAE" else None,
            "code_std": float(codes.std(axis=0).mean()),
        }

    metrics = runs.train_once(trainer, run_dir, settings, measure, args.gen_num)
    if not trainer.epoch and metrics["status"] == "ok":  # kept from an earlier call, and the figure needs the weights
        runs.train(trainer, run_dir, settings)
    return trainer.model, metrics


@torch.no_grad()
def encode_split(model, kind, dataset):
    """Return codes float32 [N, latent_size], the means of q(z|x), and reconstructions uint8 [N, 28, 28] from them."""
    parts = []
    for x, ys in batches(dataset, 1000):
        code = model.encoder(x.flatten(1), ys) if kind == "CVAE" else model.encoder(x.flatten(1))
        code = code if kind == "AE" else code[0]
        parts.append((code, decode(model, kind, code, ys)))
    codes, recon = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return codes.numpy(), to_uint8(recon)


def decode(model, kind, code, ys):
    """Return pictures [B, 28, 28] in [0, 1]."""
    return model.decoder(code, **({"ys": ys} if kind == "CVAE" else {})).unflatten(1, (28, 28))


@torch.no_grad()
def generate(model, kind, count, args):
    """Return pictures uint8 [10, count, 28, 28] from z ~ N(0, I); row d is digit d where the model takes labels."""
    set_random_seed(args.seed)
    digits = [torch.full((count,), digit, device=args.device) for digit in range(10)]
    codes = [torch.randn(count, args.latent_size, device=args.device) for _ in digits]
    return np.stack([to_uint8(decode(model, kind, z, ys).cpu()) for z, ys in zip(codes, digits, strict=True)])


def latent_map(codes):
    """Return codes [N, latent_size] seen along their first two principal axes, [N, 2]; the origin stays the origin, so
    that N(0, I) is still N(0, I). Codes of two dimensions are returned as they are."""
    if codes.shape[1] == 2:
        return codes
    return codes @ np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)[2][:2].T


def draw_figure(models, test_split, args):
    """Draw the kinds as columns: reconstructions, samples from N(0, I), the latent map; and a sheet of samples each."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    images, labels = (array[:MAP_POINTS] for array in test_split)
    test_set = MNISTDataset(images, labels, device=args.device)
    figure = Figure(figsize=(4.4 * len(models), 10.5), layout="constrained")
    panels = figure.subplots(3, len(models), height_ratios=[0.22, 1, 1], squeeze=False)
    for column, (kind, model) in zip(panels.T, models.items(), strict=True):
        codes, recon = encode_split(model, kind, test_set)
        samples = generate(model, kind, SHOWN, args)
        column[0].imshow(tile([images[:SHOWN], recon[:SHOWN]]), cmap="gray")
        column[0].set_title(f"{kind}\noriginals over reconstructions")
        column[1].imshow(tile(samples), cmap="gray")
        asked = ", row d: digit d" if kind == "CVAE" else ""
        column[1].set_title(f"decoded from z ~ N(0, I){asked}")
        dots = column[2].scatter(*latent_map(codes).T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=3)
        column[2].set_title("test codes" + ("" if args.latent_size == 2 else ",\nfirst two principal axes"))
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
    module, settings = load_submission(args.submission), runs.settings_of(args, SETTINGS)
    for kind in args.kinds:
        runs.check_settings(args.out / kind, {"kind": kind} | settings)
    splits, models, metrics = runs.load_mnist(args), {}, {}
    settings |= runs.describe_data(splits)
    for kind in args.kinds:
        models[kind], metrics[kind] = run_kind(module, kind, settings, splits, args)
    runs.report(args.out / "autoencoders.json", "kind", metrics, settings | {"gen_num": args.gen_num}, args)
    print(f"written to {args.out / 'autoencoders.json'}")
    trained = {kind: models[kind] for kind in args.kinds if metrics[kind]["status"] == "ok"}
    if trained:
        draw_figure(trained, splits[2], args)
        print(f"the figure is {args.out / 'side_by_side.png'}")


if __name__ == "__main__":
    run_command(main)
