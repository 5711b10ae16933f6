"""Your VAE on CIFAR-10: a linear against a convolutional backbone, weights of the reconstruction, learning rates.

    python -m experiments.cifar                                         # both backbones; downloads CIFAR-10 once
    python -m experiments.cifar --data_root FOLDER --class_label 3      # FOLDER/cifar-10-batches-py; cats only
    python -m experiments.cifar --patches                               # without CIFAR-10: patches of photographs
    python -m experiments.cifar --patches --backbone conv --rec_weight 1 3 --out runs/weights
    python -m experiments.cifar --patches --lr 1e-3 1e-2 --out runs/rates

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
from experiments.cifar.data import GROUPS, cut_patches, load_cifar
from experiments.runs import (
    add_arguments,
    add_submission_argument,
    check_settings,
    count_parameters,
    describe_data,
    describe_machine,
    once,
    print_table,
    train,
    without_test,
)
from grade import fid_diagonal, mse
from lab.cli import Parser, number, run_command
from lab.contract import blame, get_function, load_submission
from lab.files import sha256, write_json, write_whole
from lab.plots import save_sheet, to_uint8
from trainer import Diverged, Trainer

SHOWN = 10  # pictures in a row of a sheet
GEN_NUM = 2000  # generated pictures that are measured


def parse_args():
    parser = Parser(description=__doc__)
    add_submission_argument(parser, "cifar")
    parser.add_argument("--data_root", type=Path, help="folder that holds cifar-10-batches-py (default: download it)")
    text = "patches of the photographs in scikit-image in place of CIFAR-10 (default: no)"
    parser.add_argument("--patches", action="store_true", help=text)
    names = ["linear", "conv"]
    parser.add_argument("--backbone", nargs="+", choices=names, default=names, help="networks to compare")
    positive = number(float, 0, False)
    parser.add_argument("--rec_weight", nargs="+", type=positive, default=[1.0], help="weights of the reconstruction")
    parser.add_argument("--lr", nargs="+", type=positive, default=[1e-3], help="learning rates")
    text = "one class only; of the patches: " + ", ".join(f"{label} {name}" for label, name in enumerate(GROUPS))
    parser.add_argument("--class_label", type=int, choices=range(10), help=f"{text} (default: all)")
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--epochs", type=number(int, 1), default=10, help="passes over the training pictures")
    parser.add_argument("--batch_size", type=number(int, 1), default=128, help="pictures per step")
    text = "draw reconstructions then"
    parser.add_argument("--show_epochs", nargs="+", type=number(int, 1), default=[1, 3, 5, 10], help=text)
    add_arguments(parser, "runs/cifar")
    args = parser.parse_args()
    if args.patches and args.data_root:
        parser.error("argument --patches: use it without --data_root, which is for CIFAR-10")
    if args.patches and (args.class_label or 0) >= len(GROUPS):
        parser.error(f"argument --class_label: with --patches, choose from 0 to {len(GROUPS) - 1}")
    return args


def load_splits(args):
    """Return (images, labels) of the training, validation and test split, those of one class if the flags say so."""
    splits = cut_patches() if args.patches else load_cifar(args.data_root)
    chosen = []
    for (images, labels), count in zip(splits, (args.train_num, None, args.test_num), strict=True):
        kept = slice(None) if args.class_label is None else labels == args.class_label
        chosen.append((np.ascontiguousarray(images[kept][:count]), labels[kept][:count]))
    return chosen


def make_loss(module, hyper):
    """Return the Trainer's loss function of a run."""

    def loss_function(model, batch):
        with blame("VAE", module):
            recon, mu, log_var = model(batch[0])
        require_finite(recon, "the reconstruction")  # binary_cross_entropy of NaN raises an error that explains nothing
        with blame("vae_loss", module):
            losses = get_function(module, "vae_loss")(recon, batch[0], mu, log_var, rec_weight=hyper["rec_weight"])
            losses = {name: losses[name] for name in ("loss", "recon_loss", "kl")}
        require_finite(losses["loss"], "the loss")
        return losses

    return loss_function


def require_finite(tensor, what):
    if not tensor.isfinite().all():
        raise Diverged(f"{what} became NaN or infinite: try a lower --lr")


def loss_of_the_mean(images, rec_weight):
    """Return the loss of a decoder that always draws the mean of pictures uint8 [N, 3, 32, 32], with a KL of 0."""
    mean = torch.as_tensor(images.mean(axis=0) / 255)  # the mean of the losses is linear in the pictures
    return rec_weight * functional.binary_cross_entropy(mean.clamp(1e-4, 1 - 1e-4), mean, reduction="sum").item()


def run_once(module, name, hyper, splits, args):
    """Train one run in its folder, or resume it, and return its metrics."""
    run_dir, (images, labels) = args.out / name, splits[0]
    set_random_seed(args.seed)
    with blame("VAE", module):
        model = get_function(module, "VAE")(hyper["backbone"], args.latent_dim)
    test_set = MNISTDataset(*splits[2], device=args.device)

    def draw(model, path):
        x, _ = test_set.__getitems__(range(min(SHOWN, len(test_set))))
        recon = reconstruct(model, x)
        save_sheet(path, colours_last([to_uint8(x.cpu()), recon]), f"test pictures over reconstructions, {path.stem}")
        epoch = int(path.stem.removeprefix("epoch_"))
        if epoch in args.show_epochs:
            with write_whole(run_dir / f"recon_epoch_{epoch}.npy") as temporary:
                np.save(temporary, recon)

    trainer = Trainer(
        model,
        make_loss(module, hyper),
        MNISTDataset(images, labels, device=args.device),
        MNISTDataset(*splits[1], device=args.device),
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=hyper["lr"],
        schedule="constant",
        seed=args.seed,
        device=args.device,
        draw=draw,
        extra=hyper,
    )
    settings = settings_of(hyper, args) | describe_data(splits)

    def train_and_measure():
        mean_loss = loss_of_the_mean(images, hyper["rec_weight"])
        try:
            train(trainer, run_dir, without_test(settings))
            model.eval()
            samples = generate(model, args)
            metrics = {"status": "ok", "reason": None} | measure(trainer, samples, images, test_set, args)
            last = trainer.evaluate(trainer.train_set)["loss"]
        except Diverged as error:
            return {"status": "diverged", "reason": str(error), "history": trainer.history}
        if last > mean_loss:
            reason = f"the training loss ended at {last:.1f}, above the mean picture's {mean_loss:.1f}"
            metrics |= {"status": "diverged", "reason": reason}
        sheet = samples[: SHOWN * SHOWN].reshape(SHOWN, SHOWN, *samples.shape[1:])
        save_sheet(run_dir / "samples.png", colours_last(sheet), f"decoded from z ~ N(0, I): {name}")
        return metrics | {"history": trainer.history}

    return once(run_dir / "metrics.json", settings | {"gen_num": GEN_NUM}, train_and_measure)


def settings_of(hyper, args):
    """Return what a run depends on beside the data; hyper: its backbone, rec_weight and lr."""
    names = ("patches", "class_label", "latent_dim", "epochs", "batch_size", "seed", "show_epochs")
    submission = sha256(args.submission.read_bytes())[:16]
    return hyper | {"submission": submission} | {name: getattr(args, name) for name in names}


@torch.no_grad()
def reconstruct(model, x):
    """Return pictures uint8 [B, 3, 32, 32] from the means of q(z|x)."""
    return to_uint8(model.decoder(model.encoder(x)[0]).cpu())


@torch.no_grad()
def generate(model, args):
    """Return GEN_NUM pictures uint8 [N, 3, 32, 32] from z ~ N(0, I)."""
    set_random_seed(args.seed)
    return to_uint8(model.decoder(torch.randn(GEN_NUM, args.latent_dim, device=args.device)).cpu())


def measure(trainer, samples, images, test_set, args):
    """Return a trained run's metrics: of reconstructions on the test set, of samples beside the training pictures."""
    set_random_seed(args.seed)
    terms, originals = trainer.evaluate(test_set), test_set.images.cpu().numpy()
    recon = np.concatenate([reconstruct(trainer.model, x) for x, _ in batches(test_set, 1000)])
    return terms | {
        "mse": mse(originals, recon),
        # Neighbouring pixels of a blurred picture differ less than the original's: 1 is as sharp, 0 is flat.
        "sharpness": float(contrast(recon) / contrast(originals)),
        "sample_sharpness": float(contrast(samples) / contrast(images)),
        "sample_spread": float(samples.std(axis=0).mean() / images.std(axis=0).mean()),  # 1: as diverse
        "fid": fid_diagonal(images, np.zeros(len(images), np.uint8), samples[None]),
        "parameters": count_parameters(trainer.model),
        "seconds": trainer.seconds,
    }


def contrast(images):
    """Return the mean absolute difference of neighbouring pixels in a row, of pictures uint8 [N, C, H, W]."""
    return np.abs(np.diff(images.astype(np.int16), axis=-1)).mean()


def colours_last(rows):
    """Turn pictures [R, C, 3, H, W] into [R, C, H, W, 3], as save_sheet wants colours."""
    return np.moveaxis(np.asarray(rows), 2, -1)


def draw_reconstructions(name, test_images, args):
    """Draw one row for each of --show_epochs that the run reached, under the originals."""
    rows, titles = [test_images[:SHOWN]], ["original"]
    for epoch in sorted(set(args.show_epochs)):
        path = args.out / name / f"recon_epoch_{epoch}.npy"
        if path.exists():
            rows.append(np.load(path))
            titles.append(f"epoch {epoch}")
    save_sheet(args.out / name / "reconstructions.png", colours_last(rows), f"reconstructions: {name}", titles)


def draw_loss_curves(runs, path):
    """Draw every run's validation loss in one picture; a diverged run ends where its numbers do."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, metrics in runs.items():
        history = metrics["history"]
        label = name if metrics["status"] == "ok" else f"{name} (diverged)"
        axes.plot([row["step"] for row in history], [row["valid_loss"] for row in history], label=label)
    axes.set(xlabel="step", ylabel="validation loss, mean over pictures", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def main():
    args = parse_args()
    module = load_submission(args.submission)
    hypers = {
        f"{backbone}_rec{rec_weight:g}_lr{lr:g}": {"backbone": backbone, "rec_weight": rec_weight, "lr": lr}
        for backbone, rec_weight, lr in itertools.product(args.backbone, args.rec_weight, args.lr)
    }
    for name, hyper in hypers.items():
        check_settings(args.out / name, settings_of(hyper, args))
    splits, runs = load_splits(args), {}
    for name, hyper in hypers.items():
        runs[name] = hyper | run_once(module, name, hyper, splits, args)
        draw_reconstructions(name, splits[2][0], args)
    draw_loss_curves(runs, args.out / "loss_curves.png")
    settings = settings_of({}, args) | describe_data(splits) | {"gen_num": GEN_NUM}
    write_json(args.out / "cifar.json", {"settings": settings, "runs": runs, "machine": describe_machine(args)})
    columns = dict.fromkeys(name for metrics in runs.values() for name in metrics if name not in ("reason", "history"))
    print_table([{"run": name} | {column: runs[name].get(column) for column in columns} for name in runs])
    for name, metrics in runs.items():
        if metrics["status"] == "diverged":
            print(f"{name} diverged: {metrics['reason']}")
    print(f"written to {args.out / 'cifar.json'}")


if __name__ == "__main__":
    run_command(main)
