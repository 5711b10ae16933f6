"""A VAE on CIFAR-10: a linear against a convolutional backbone.

    python -m experiments.cifar                                         # both backbones; downloads CIFAR-10 once
    python -m experiments.cifar --data_root FOLDER --class_label 3      # FOLDER/cifar-10-batches-py; cats only
    python -m experiments.cifar --backbone conv --rec_weight 1 3
    python -m experiments.cifar --backbone linear --lr 1e-3 1e-2        # 1e-2 diverges, and the table says so

Every backbone is trained with every --rec_weight and every --lr. A run counts as diverged when its loss becomes NaN or
infinite, or when it ends above the loss of a picture that never changes (the training set's mean picture, KL 0).
"""

import itertools
import sys
from functools import partial
from pathlib import Path

if not __package__:
    print("error: run this as a module, in the lab's folder: python -m experiments.cifar", file=sys.stderr)
    sys.exit(2)

import numpy as np
import torch
from torch import nn
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from data_utils import MNISTDataset, batches, set_random_seed
from experiments.networks import Autoencoder, bernoulli_rec, gaussian_rec, kl_to_prior, sample_gaussian
from experiments.runs import (
    add_arguments,
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
from lab.cli import LabError, Parser, number, run_command
from lab.files import write_json, write_whole
from lab.plots import save_sheet, to_uint8
from trainer import Diverged, Trainer

BACKBONES = {
    "linear": {"widths": (256, 64), "activation": nn.ReLU},
    "conv": {"channels": (32, 64, 128, 256), "activation": partial(nn.LeakyReLU, 0.2)},
}
DOWNLOADS = Path("runs/cifar10")
VALID_SHARE = 0.1  # of the training pictures, the last ones
SHOWN = 10  # pictures in a row of a sheet
GEN_NUM = 2000  # generated pictures, for the FID


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--data_root", type=Path, help="folder that holds cifar-10-batches-py (default: download it)")
    parser.add_argument("--backbone", nargs="+", choices=BACKBONES, default=list(BACKBONES), help="networks to compare")
    parser.add_argument(
        "--rec_weight", nargs="+", type=number(float, 0, False), default=[1.0], help="weight of the reconstruction loss"
    )
    parser.add_argument("--lr", nargs="+", type=number(float, 0, False), default=[1e-3], help="learning rates")
    parser.add_argument("--loss", choices=["bce", "gaussian"], default="bce", help="the reconstruction loss")
    parser.add_argument("--var", type=number(float, 0, False), default=0.1, help="variance of the gaussian loss")
    parser.add_argument("--class_label", type=int, choices=range(10), help="one class only (default: all ten)")
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--epochs", type=number(int, 1), default=100, help="passes over the training pictures")
    parser.add_argument("--batch_size", type=number(int, 1), default=128, help="pictures per step")
    parser.add_argument(
        "--show_epochs", nargs="+", type=number(int, 1), default=[1, 10, 50, 100], help="draw reconstructions then"
    )
    add_arguments(parser, "runs/cifar")
    return parser.parse_args()


def load_cifar(args):
    """Return (images, labels) of a training, a validation and a test split: uint8 [N, 3, 32, 32] and int64 [N].

    Raises LabError if they are missing, damaged or cannot be downloaded.
    """
    root = args.data_root or DOWNLOADS
    folder, offline = root / CIFAR10.base_folder, None
    meta = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]
    files = {folder / name: md5 for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, meta]}
    if args.data_root is None and not all(check_integrity(path, md5) for path, md5 in files.items()):
        try:
            print(f"downloading CIFAR-10 to {folder}")
            CIFAR10(root, download=True)
        except (RuntimeError, OSError) as error:
            offline = error
    advice = (
        f"get {CIFAR10.filename}, unpack it, and give the folder that then holds {CIFAR10.base_folder}: --data_root"
    )
    for path, md5 in files.items():
        if path.exists() and not check_integrity(path, md5):
            raise LabError(f"{path} is damaged: its checksum is not that of CIFAR-10. To replace it, {advice}.")
        if not path.exists():
            tried = f", and {CIFAR10.url} cannot be reached ({offline})" if offline else ""
            raise LabError(f"there is no {path}{tried}: {advice}.")
    sets = [CIFAR10(root, train=train) for train in (True, False)]
    (images, labels), test = [(dataset.data.transpose(0, 3, 1, 2), np.array(dataset.targets)) for dataset in sets]
    valid_num = max(1, int(VALID_SHARE * len(images)))
    splits = (
        (images[:-valid_num], labels[:-valid_num], args.train_num),
        (images[-valid_num:], labels[-valid_num:], None),
        (*test, args.test_num),
    )
    chosen = []
    for images, labels, count in splits:
        kept = slice(None) if args.class_label is None else labels == args.class_label
        chosen.append((np.ascontiguousarray(images[kept][:count]), labels[kept][:count]))
    return chosen


def rec_function(args):
    """Return rec(logits, x) → [B] of the loss that --loss names."""
    return bernoulli_rec if args.loss == "bce" else partial(gaussian_rec, var=args.var)


def make_loss(rec_weight, args):
    """Return the Trainer's loss function: kl + rec_weight * recon_loss, means over the batch."""
    rec_of = rec_function(args)

    def loss_function(model, batch):
        m, v = model.encode(batch[0])
        rec = rec_of(model.decode(sample_gaussian(m, v)), batch[0]).mean()
        kl = kl_to_prior(m, v).mean()
        return {"loss": kl + rec_weight * rec, "recon_loss": rec, "kl": kl}

    return loss_function


def loss_of_the_mean(images, rec_weight, args):
    """Return the loss of a decoder that always draws the mean of pictures uint8 [N, 3, 32, 32]."""
    x = torch.as_tensor(images).float() / 255
    logits = x.mean(dim=0, keepdim=True).clamp(1e-4, 1 - 1e-4).logit()
    parts = [rec_function(args)(logits.expand_as(some), some) for some in x.split(1000)]
    return rec_weight * torch.cat(parts).mean().item()


def run_once(name, hyper, splits, args):
    """Train one run in its folder, or resume it, and return its metrics."""
    run_dir = args.out / name
    (images, labels), valid, test = splits
    set_random_seed(args.seed)
    model = Autoencoder(images.shape[1:], args.latent_dim, **BACKBONES[hyper["backbone"]])
    test_set = MNISTDataset(*test, device=args.device)

    def draw(model, path):
        x, _ = test_set.__getitems__(range(min(SHOWN, len(test_set))))
        recon = to_uint8(model.reconstruct(x).cpu())
        save_sheet(path, colours_last([to_uint8(x.cpu()), recon]), f"test pictures over reconstructions, {path.stem}")
        epoch = int(path.stem.removeprefix("epoch_"))
        if epoch in args.show_epochs:
            with write_whole(run_dir / f"recon_epoch_{epoch}.npy") as temporary:
                np.save(temporary, recon)

    trainer = Trainer(
        model,
        make_loss(hyper["rec_weight"], args),
        MNISTDataset(images, labels, device=args.device),
        MNISTDataset(*valid, device=args.device),
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
        mean_loss = loss_of_the_mean(images, hyper["rec_weight"], args)
        try:
            train(trainer, run_dir, without_test(settings))
        except Diverged as error:
            return {"status": "diverged", "reason": str(error), "history": trainer.history}
        model.eval()
        metrics = {"status": "ok", "reason": None} | measure(trainer, test_set, test[0], args)
        if metrics["loss"] > mean_loss:
            reason = f"the loss ended at {metrics['loss']:.1f}, above the mean picture's {mean_loss:.1f}"
            metrics |= {"status": "diverged", "reason": reason}
        samples = colours_last(model.sample(SHOWN * SHOWN).cpu().unflatten(0, (SHOWN, SHOWN)))
        save_sheet(run_dir / "samples.png", samples, f"decoded from z ~ N(0, I): {name}")
        return metrics | {"history": trainer.history}

    return once(run_dir / "metrics.json", settings | {"gen_num": GEN_NUM}, train_and_measure)


def settings_of(hyper, args):
    """Return what a run depends on beside the data; hyper: its backbone, rec_weight and lr."""
    names = ("loss", "var", "class_label", "latent_dim", "epochs", "batch_size", "seed", "show_epochs")
    return hyper | {name: getattr(args, name) for name in names}


def measure(trainer, test_set, images, args):
    """Return a trained run's metrics on the test pictures, uint8 [N, 3, 32, 32]."""
    model = trainer.model
    set_random_seed(args.seed)
    terms = trainer.evaluate(test_set)
    recon = np.concatenate([to_uint8(model.reconstruct(x).cpu()) for x, _ in batches(test_set, 1000)])
    generated = np.concatenate([to_uint8(model.sample(500).cpu()) for _ in range(GEN_NUM // 500)])
    return terms | {
        "mse": mse(images, recon),
        # Neighbouring pixels of a blurred picture differ less than the original's: 1 is as sharp, 0 is flat.
        "sharpness": float(contrast(recon) / contrast(images)),
        "fid": fid_diagonal(images, np.zeros(len(images), np.uint8), generated[None]),
        "parameters": count_parameters(model),
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
    hypers = {
        f"{backbone}_rec{rec_weight:g}_lr{lr:g}": {"backbone": backbone, "rec_weight": rec_weight, "lr": lr}
        for backbone, rec_weight, lr in itertools.product(args.backbone, args.rec_weight, args.lr)
    }
    for name, hyper in hypers.items():
        check_settings(args.out / name, settings_of(hyper, args))
    splits = load_cifar(args)
    runs = {}
    for name, hyper in hypers.items():
        runs[name] = hyper | run_once(name, hyper, splits, args)
        draw_reconstructions(name, splits[2][0], args)
    draw_loss_curves(runs, args.out / "loss_curves.png")
    result = {
        "runs": runs,
        "settings": settings_of({}, args) | describe_data(splits) | {"gen_num": GEN_NUM},
        "pictures": dict(zip(("train", "valid", "test"), (len(split[0]) for split in splits), strict=True)),
        "machine": describe_machine(args),
    }
    write_json(args.out / "cifar.json", result)
    columns = ("status", "loss", "recon_loss", "kl", "mse", "sharpness", "fid", "parameters", "seconds")
    print_table([{"run": name} | {column: metrics.get(column) for column in columns} for name, metrics in runs.items()])
    for name, metrics in runs.items():
        if metrics["status"] == "diverged":
            print(f"{name} diverged: {metrics['reason']}")
    print(f"written to {args.out / 'cifar.json'}")


if __name__ == "__main__":
    run_command(main)
