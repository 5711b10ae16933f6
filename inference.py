"""Reconstruct a split's pictures and generate digits with a trained submission.

    python inference.py --task VAEwolabel                              # the task's newest run
    python inference.py --task Genwithlabel --checkpoint_path runs/Genwithlabel/NAME/best.pth --png

Writes recon.npz, gen.npz, meta.json and the sheets recon.png, gen.png, interpolation.png and, in the conditional task,
labels.png into the checkpoint's folder under output/, unless --save_dir says otherwise. grade.py reads that folder.
"""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_utils import load_split, save_sheet, set_random_seed
from lab.checkpoints import load_checkpoint, load_weights
from lab.cli import LabError, Parser, add_data_argument, command, default_device, device, number, run_command
from lab.codes import decode_codes, device_of, encode_pictures, labels_tensor
from lab.contract import build_model, load_submission, run_forward
from lab.files import sha256
from lab.output import write_output
from lab.run import RUNS, Run, find_runs
from lab.tasks import TASKS

ACTIVE = 0.1  # nats of KL from which a dimension counts as used: the KL of an unused one is about 0


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, required=True, help="which of the two models to use")
    parser.add_argument("--checkpoint_path", type=Path, help="default: best.pth of the task's newest run")
    parser.add_argument("--latent_dim", type=number(int, 1), help="only for checkpoints that do not say it themselves")
    parser.add_argument("--submission", type=Path, help="default: the copy beside the checkpoint, else submission.py")
    add_data_argument(parser, "the split to reconstruct", "--data_path")
    parser.add_argument("--save_dir", type=Path, help="default: output/ beside the checkpoint")
    parser.add_argument("--inf_num", type=number(int, 1), help="reconstruct only the first N pictures (default: all)")
    parser.add_argument("--gen_num", type=number(int, 1), default=1000, help="generate N pictures of each digit")
    parser.add_argument("--batch_size", type=number(int, 1), default=1000, help="pictures per call of the model")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the codes that digits are generated from")
    parser.add_argument("--png", action="store_true", help="also write one PNG per picture")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    args = parser.parse_args()
    if args.checkpoint_path is None:
        runs = [run for run in find_runs() if run.task == args.task and run.best.is_file()]
        if not runs:
            raise LabError(
                f"{RUNS.absolute()} holds no trained run of {args.task}: give --checkpoint_path, or train one:\n"
                f"next: {command('train.py', '--task', args.task)}"
            )
        args.checkpoint_path = runs[0].best
    run = Run(args.checkpoint_path.parent)
    args.submission = args.submission or (run.submission if run.submission.is_file() else Path(run.submission.name))
    args.save_dir = args.save_dir or run.output
    return args


def find_latent_dim(checkpoint, args):
    """Return the latent_dim of a checkpoint, after comparing it, and its task, with what was asked for."""
    for name in ("task", "latent_dim"):
        stored, asked = checkpoint.get(name), getattr(args, name)
        if stored is not None and asked is not None and stored != asked:
            raise LabError(
                f"{args.checkpoint_path} was trained with --{name} {stored}, you asked for {asked}: "
                f"give --{name} {stored}, or another --checkpoint_path."
            )
    latent_dim = checkpoint.get("latent_dim", args.latent_dim)
    if latent_dim is None:
        raise LabError(f"{args.checkpoint_path} does not say its latent_dim: give --latent_dim.")
    if type(latent_dim) is not int or latent_dim < 1:
        raise LabError(
            f"{args.checkpoint_path} is damaged: expected latent_dim to be a whole number of at least 1, "
            f"got {latent_dim!r}."
        )
    return latent_dim


def draw_normal(latent_dim, gen_num, seed):
    """Return z ~ N(0, I) as float32 [10, gen_num, latent_dim]; the same seed gives the same z on every machine."""
    return torch.randn(10, gen_num, latent_dim, generator=torch.Generator().manual_seed(seed % 2**63)).numpy()


def generate(model, module, z, conditional, batch_size):
    """Return pictures uint8 [10, n, 28, 28] of codes z [10, n, latent_dim], decoded in batches of mixed digits, as the
    pictures of a split are."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), z.shape[1])
    order = np.random.default_rng(0).permutation(len(labels))
    codes, labels = z.reshape(len(labels), -1)[order], labels[order]
    images = np.empty((len(labels), 28, 28), np.uint8)
    for start in tqdm(range(0, len(labels), batch_size), desc="generating", unit="batch", leave=False):
        batch = slice(start, start + batch_size)
        images[order[batch]] = decode_codes(
            model, module, codes[batch], labels[batch] if conditional else None, batch_size
        )
    return images.reshape(10, -1, 28, 28)


def interpolate(codes, labels, conditional, steps=10):
    """Return codes [lines * steps, latent_dim] on straight lines, and their labels (None in the VAE task).

    Ten lines join the codes of two neighbouring digits. Where the labels are given to decode, each of them is decoded
    with the label of its first digit, and ten lines between two pictures of one digit come before them. Digits without
    a picture are left out.
    """
    of_digit = {digit: np.flatnonzero(labels == digit) for digit in range(10) if (labels == digit).any()}
    digits = list(of_digit)
    starts = [of_digit[digit][0] for digit in digits]
    ends = starts[1:] + starts[:1]
    if conditional:
        starts, ends, digits = starts * 2, [of_digit[digit][-1] for digit in digits] + ends, digits * 2
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    lines = [codes[a].astype(np.float32) * (1 - share) + codes[b] * share for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(lines), np.repeat(np.array(digits, np.uint8), steps) if conditional else None


@torch.no_grad()
def measure_codes(model, module, images, labels, batch_size):
    """Return for each dimension of the code the KL of q(z|x) to N(0, 1), mean over the pictures, and the standard
    deviation of z over the pictures: two float64 [latent_dim].

    z is drawn from q(z|x) for each x, so its variance is that of mu plus the mean of sigma²: it is the spread of the
    aggregated posterior, which should be near that of the prior, 1.
    """
    model.eval()
    device = device_of(model)
    sums = 0.0  # of the KL, of z and of z²
    for start in range(0, len(images), batch_size):
        x = torch.as_tensor(images[start : start + batch_size], device=device).float() / 255
        _, mu, log_var = run_forward(model, module, x, labels_tensor(labels, start, batch_size, device))
        mu, log_var = mu.cpu().double(), log_var.cpu().double()
        kl = (mu.square() + log_var.exp() - 1 - log_var) / 2
        sums += torch.stack([kl, mu, mu.square() + log_var.exp()]).sum(dim=1)
    kl, mean, square = sums / len(images)
    return kl.numpy(), (square - mean.square()).clamp(min=0).sqrt().numpy()


def describe_codes(kl, spread):
    """Return what `measure_codes` found in one line."""
    active = kl > ACTIVE
    text = f"{active.sum()} of {len(kl)} dimensions active (KL above {ACTIVE})"
    if active.any():
        low, high = spread[active].min(), spread[active].max()
        text += f"; their spread over the pictures is {low:.2f} to {high:.2f} (standard deviation; N(0, I) has 1)"
    return text


def main():
    args = parse_args()
    conditional = TASKS[args.task].conditional
    images, labels = (array[: args.inf_num] for array in load_split(args.data))
    checkpoint = load_checkpoint(args.checkpoint_path)
    checkpoint_sha256 = sha256(args.checkpoint_path.read_bytes())
    latent_dim = find_latent_dim(checkpoint, args)
    module = load_submission(args.submission)
    set_random_seed(args.seed)

    def fresh_model():
        model = build_model(module, args.task, latent_dim)
        load_weights(model, checkpoint, args.checkpoint_path)
        return model.to(args.device)

    # Two models, as class grading has two processes: nothing but the codes goes from one to the other.
    used_labels = labels if conditional else None
    encoder = fresh_model()
    codes = encode_pictures(encoder, module, images, used_labels, args.batch_size)
    if codes.shape[1] != latent_dim:
        raise LabError(
            f"{type(encoder).__name__} was built with latent_dim={latent_dim}, but forward hands decode codes of width "
            f"{codes.shape[1]}: make the code as wide as latent_dim."
        )
    decoder = fresh_model()
    recon = decode_codes(decoder, module, codes, used_labels, args.batch_size)
    z = draw_normal(latent_dim, args.gen_num, args.seed)
    generated = generate(decoder, module, z, conditional, args.batch_size)
    between = decode_codes(decoder, module, *interpolate(codes, labels, conditional), args.batch_size)
    firsts = [np.flatnonzero(labels == digit)[0] for digit in range(10) if (labels == digit).any()]
    if conditional:
        every_label = np.tile(np.arange(10, dtype=np.uint8), len(firsts))
        relabelled = decode_codes(decoder, module, np.repeat(codes[firsts], 10, axis=0), every_label, args.batch_size)
    kl, spread = measure_codes(encoder, module, images, used_labels, args.batch_size)

    args.save_dir.mkdir(parents=True, exist_ok=True)
    pair = np.stack([images[:16], recon[:16]])
    save_sheet(args.save_dir / "recon.png", pair, "originals over their reconstructions")
    digits = [str(digit) for digit in range(10)] if conditional else None
    title = "generated from z ~ N(0, I)" + (", one row per digit" if conditional else "")
    save_sheet(args.save_dir / "gen.png", generated[:, :16], title, digits)
    lines = between.reshape(-1, 10, 28, 28)
    title = "straight lines between the codes of two pictures"
    if conditional:
        title += "\nabove: of one digit; below: from it to the next, decoded with the first label"
    save_sheet(args.save_dir / "interpolation.png", lines, title)
    if conditional:
        rows = np.concatenate([images[firsts][:, None], relabelled.reshape(-1, 10, 28, 28)], axis=1)
        save_sheet(args.save_dir / "labels.png", rows, "a picture, and its code decoded with each label, 0 to 9")
    meta = {
        "task": args.task,
        "latent_dim": latent_dim,
        "checkpoint": str(args.checkpoint_path),
        "checkpoint_sha256": checkpoint_sha256,
        "epoch": checkpoint.get("epoch"),
        "submission": str(args.submission),
        "data": str(args.data),
        "inf_num": len(recon),
        "gen_num": args.gen_num,
        "seed": args.seed,
        "kl": kl.tolist(),
        "spread": spread.tolist(),
        "torch": torch.__version__,
    }
    write_output(args.save_dir, recon, codes, generated, meta, args.png)
    print(f"{len(recon):,} reconstructions and {generated[..., 0, 0].size:,} generated pictures in {args.save_dir}")
    print(describe_codes(kl, spread))
    print(f"next: {command('grade.py', f'--{args.task}_output_dir', args.save_dir)}")


if __name__ == "__main__":
    run_command(main)
