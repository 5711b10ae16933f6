"""Your VAE on CIFAR-10: a linear against a convolutional backbone, weights of the reconstruction, learning rates.

    python -m experiments.cifar                                         # both backbones; downloads CIFAR-10 once
    python -m experiments.cifar --data_root FOLDER --class_label 3      # FOLDER/cifar-10-batches-py; cats only
    python -m experiments.cifar --patches                               # without CIFAR-10: patches of photographs
    python -m experiments.cifar --patches --rec_weight 1 3 --lr 1e-3 1e-2 --out runs/all

Every backbone is trained with every --rec_weight and every --lr. A run counts as diverged when its loss becomes NaN or
infinite, or when it ends above the loss of a picture that never changes (the training set's mean picture, KL 0).
"""

import itertools
import sys
from pathlib import Path

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.cifar", file=sys.stderr)
    sys.exit(2)

import numpy as np
import torch
from torch.nn import functional

from data_utils import MNISTDataset, batches, set_random_seed
from experiments import runs
from experiments.cifar.data import GROUPS, cut_patches, load_cifar
from grade import fid_diagonal, mse
from lab.cli import Parser, number, run_command
from lab.contract import blame, get_function, load_submission
from lab.files import write_whole
from lab.plots import save_sheet, to_uint8
from trainer import Trainer

SHOWN = 10  # pictures in a row of a sheet
GEN_NUM = 2000  # generated pictures that are measured
SETTINGS = ("patches", "class_label", "latent_dim", "epochs", "batch_size", "seed", "show_epochs")


def parse_args():
    parser = Parser(prog="python -m experiments.cifar", description=__doc__)
    runs.add_arguments(parser, "cifar")
    parser.add_argument("--data_root", type=Path, help="folder that holds cifar-10-batches-py (default: download it)")
    text = "patches of the photographs in scikit-image in place of CIFAR-10 (default: no)"
    parser.add_argument("--patches", action="store_true", help=text)
    names, positive = ["linear", "conv"], number(float, 0, False)
    parser.add_argument("--backbone", nargs="+", choices=names, default=names, help="networks to compare")
    parser.add_argument("--rec_weight", nargs="+", type=positive, default=[1.0], help="weights of the reconstruction")
    parser.add_argument("--lr", nargs="+", type=positive, default=[1e-3], help="learning rates")
    text = "one class only; of the patches: " + ", ".join(f"{label} {name}" for label, name in enumerate(GROUPS))
    parser.add_argument("--class_label", type=int, choices=range(10), help=f"{text} (default: all)")
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--epochs", type=number(int, 1), default=10, help="passes over the training pictures")
    parser.add_argument("--batch_size", type=number(int, 1), default=128, help="pictures per step")
    text = "draw reconstructions then"
    parser.add_argument("--show_epochs", nargs="+", type=number(int, 1), default=[1, 3, 5, 10], help=text)
    args = parser.parse_args()
    if args.patches and args.data_root:
        parser.error("argument --patches: use it without --data_root, which is for CIFAR-10")
    if args.patches and (args.class_label or 0) >= len(GROUPS):
        parser.error(f"argument --class_label: with --patches, choose from 0 to {len(GROUPS) - 1}")
    return args


def load_splits(args):
    """Return (images, labels) of the training, validation and test split, those of one class if the flags say so."""
    splits, chosen = cut_patches() if args.patches else load_cifar(args.data_root), []
    for (images, labels), count in zip(splits, (args.train_num, None, args.test_num), strict=True):
        kept = slice(None) if args.class_label is None else labels == args.class_label
        chosen.append((np.ascontiguousarray(images[kept][:count]), labels[kept][:count]))
    return chosen


def build(module, backbone, args):
    with blame("VAE", module):
        return get_function(module, "VAE")(backbone, args.latent_dim)


def make_loss(module, rec_weight):
    """Return the Trainer's loss function of a run."""

    def loss_function(model, batch):
        with blame("VAE", module):
            recon, mu, log_var = model(batch[0])
        runs.require_finite(recon, "the reconstruction")
        with blame("vae_loss", module):
            losses = get_function(module, "vae_loss")(recon, batch[0], mu, log_var, rec_weight=rec_weight)
            losses = {name: losses[name] for name in ("loss", "recon_loss", "kl")}
        runs.require_finite(losses["loss"], "the loss")
        return losses

    return loss_function


def run_once(module, name, hyper, settings, splits, args):
    """Train one run in its folder, or resume it, and return its metrics."""
    run_dir, images, weight = args.out / name, splits[0][0], hyper["rec_weight"]
    set_random_seed(args.seed)
    model = build(module, hyper["backbone"], args)
    train_set, valid_set, test_set = (MNISTDataset(*split, device=args.device) for split in splits)

    @torch.no_grad()
    def reconstruct(x):
        """Return pictures uint8 [B, 3, 32, 32] from the means of q(z|x)."""
        return to_uint8(model.decoder(model.encoder(x)[0]).cpu())

    def draw(_, path):
        """At --show_epochs, add a row to the sheet of reconstructions."""
        epoch = int(path.stem.removeprefix("epoch_"))
        if epoch not in args.show_epochs:
            return
        x, _ = test_set.__getitems__(range(min(SHOWN, len(test_set))))
        with write_whole(run_dir / f"recon_epoch_{epoch:03}.npy") as temporary:
            np.save(temporary, reconstruct(x))
        files = sorted(run_dir.glob("recon_epoch_*.npy"))
        rows, titles = [to_uint8(x.cpu()), *map(np.load, files)], [f"epoch {int(path.stem[12:])}" for path in files]
        draw_sheet(run_dir / "reconstructions.png", rows, f"reconstructions: {name}", ["original", *titles])

    options = {name: getattr(args, name) for name in ("epochs", "batch_size", "seed", "device")}
    options |= {"lr": hyper["lr"], "schedule": "constant", "draw": draw, "extra": hyper}
    trainer = Trainer(model, make_loss(module, weight), train_set, valid_set, **options)

    def measure():
        """Draw samples, and return metrics of test reconstructions and of samples beside the training pictures."""
        set_random_seed(args.seed)
        with torch.no_grad():
            samples = to_uint8(model.decoder(torch.randn(GEN_NUM, args.latent_dim, device=args.device)).cpu())
        rows = samples[: SHOWN * SHOWN].reshape(SHOWN, SHOWN, *samples.shape[1:])
        draw_sheet(run_dir / "samples.png", rows, f"decoded from z ~ N(0, I): {name}")
        metrics, originals = trainer.evaluate(test_set), splits[2][0]
        recon = np.concatenate([reconstruct(x) for x, _ in batches(test_set, 1000)])
        metrics |= {
            "mse": mse(originals, recon),
            # Neighbouring pixels of a blurred picture differ less than the original's: 1 is as sharp, 0 is flat.
            "sharpness": contrast(recon) / contrast(originals),
            "sample_sharpness": contrast(samples) / contrast(images),
            "sample_spread": float(samples.std(axis=0).mean() / images.std(axis=0).mean()),  # 1: as diverse
            "fid": fid_diagonal(images, np.zeros(len(images), np.uint8), samples[None]),
        }
        # The cross-entropy is linear in the pictures: its mean over them is that of their mean.
        mean = torch.as_tensor(images.mean(axis=0) / 255)
        limit = weight * functional.binary_cross_entropy(mean.clamp(1e-4, 1 - 1e-4), mean, reduction="sum").item()
        last = trainer.evaluate(train_set)["loss"]
        if last > limit:
            reason = f"its loss ended at {last:.1f}, above the mean picture's {limit:.1f}"
            metrics |= {"status": "diverged", "reason": reason}
        return metrics

    return runs.train_once(trainer, run_dir, hyper | settings, measure, GEN_NUM)


def contrast(images):
    """Return the mean absolute difference of neighbouring pixels in a row, of pictures uint8 [N, C, H, W]."""
    return float(np.abs(np.diff(images.astype(np.int16), axis=-1)).mean())


def draw_sheet(path, rows, *titles):
    """Draw a sheet of rows of pictures [R, C, 3, H, W]."""
    save_sheet(path, np.moveaxis(np.asarray(rows), 2, -1), *titles)


def main():
    args = parse_args()
    module, settings = load_submission(args.submission), runs.settings_of(args, SETTINGS)
    hypers = {
        f"{backbone}_rec{rec_weight:g}_lr{lr:g}": {"backbone": backbone, "rec_weight": rec_weight, "lr": lr}
        for backbone, rec_weight, lr in itertools.product(args.backbone, args.rec_weight, args.lr)
    }
    for name, hyper in hypers.items():
        runs.check_settings(args.out / name, hyper | settings)
        build(module, hyper["backbone"], args)  # what is not filled in is said before anything is downloaded
    splits = load_splits(args)
    settings |= runs.describe_data(splits)
    metrics = {name: hyper | run_once(module, name, hyper, settings, splits, args) for name, hyper in hypers.items()}
    hidden = ("backbone", "rec_weight", "lr", "history")
    runs.report(args.out / "cifar.json", "run", metrics, settings | {"gen_num": GEN_NUM}, args, hidden)
    print(f"written to {args.out / 'cifar.json'}; pictures in each run's folder there")


if __name__ == "__main__":
    run_command(main)
