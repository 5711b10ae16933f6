"""Reconstruct the pictures of a split and generate digits with a trained submission.

    python inference.py --task VAEwolabel                              # the task's newest run
    python inference.py --task Genwithlabel --checkpoint_path runs/Genwithlabel/NAME/best.pth --png

Writes recon.npz, gen.npz, meta.json and the sheets recon.png, gen.png, interpolation.png and, in the conditional task,
labels.png into output/ beside the checkpoint, unless you give --save_dir. grade.py reads that folder.
"""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_utils import load_split, set_random_seed
from lab.checkpoints import find_latent_dim, load_checkpoint, load_weights
from lab.cli import LabError, Parser, add_data_argument, command, default_device, device, number, run_command
from lab.codes import decode_codes, describe_codes, encode_pictures, interpolate, measure_codes
from lab.compare import newest_trained
from lab.contract import build_model, load_submission
from lab.files import sha256
from lab.output import draw_sheets, write_output
from lab.run import Run, best_of, submission_beside
from lab.tasks import TASKS


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, required=True, help="which of the two models to use")
    text = "a checkpoint or a run's folder (default: the task's newest run)"
    parser.add_argument("--checkpoint_path", type=Path, help=text)
    parser.add_argument("--latent_dim", type=number(int, 1), help="only for checkpoints that do not contain it")
    parser.add_argument("--submission", type=Path, help="default: the copy beside the checkpoint, else submission.py")
    add_data_argument(parser, "the split to reconstruct", "--data_path")
    parser.add_argument("--save_dir", type=Path, help="default: output/ beside the checkpoint")
    parser.add_argument("--inf_num", type=number(int, 1), help="reconstruct only the first N pictures (default: all)")
    parser.add_argument("--gen_num", type=number(int, 1), default=1000, help="generate N pictures per digit")
    parser.add_argument("--batch_size", type=number(int, 1), default=1000, help="pictures per call of the model")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for the codes of generated digits")
    parser.add_argument("--png", action="store_true", help="also write one PNG per picture")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    args = parser.parse_args()
    args.other_data = ["--data", args.data] if args.data != parser.get_default("data") else []
    enough = args.gen_num >= parser.get_default("gen_num") or not TASKS[args.task].generates
    args.can_be_graded = args.inf_num is None and enough
    args.checkpoint_path = best_of(args.checkpoint_path or newest_trained(args.task).best)
    args.submission = args.submission or submission_beside(args.checkpoint_path)
    args.save_dir = args.save_dir or Run(args.checkpoint_path.parent).output
    return args


def draw_normal(latent_dim, gen_num, seed):
    """Return z ~ N(0, I) as float32 [10, gen_num, latent_dim]; the same seed gives the same z on every machine."""
    return torch.randn(10, gen_num, latent_dim, generator=torch.Generator().manual_seed(seed % 2**63)).numpy()


def generate(model, module, z, conditional, batch_size):
    """Return pictures uint8 [10, n, 28, 28] for codes z [10, n, latent_dim], decoded in batches of mixed digits, like
    the pictures of a split."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), z.shape[1])
    order = np.random.default_rng(0).permutation(len(labels))
    codes, labels = z.reshape(len(labels), -1)[order], labels[order]
    images = np.empty((len(labels), 28, 28), np.uint8)
    for start in tqdm(range(0, len(labels), batch_size), desc="generating", unit="batch", leave=False):
        batch = slice(start, start + batch_size)
        given = labels[batch] if conditional else None
        images[order[batch]] = decode_codes(model, module, codes[batch], given, batch_size)
    return images.reshape(10, -1, 28, 28)


def main():
    args = parse_args()
    conditional = TASKS[args.task].conditional
    images, labels = (array[: args.inf_num] for array in load_split(args.data))
    checkpoint = load_checkpoint(args.checkpoint_path)
    checkpoint_sha256 = sha256(args.checkpoint_path.read_bytes())
    latent_dim = find_latent_dim(checkpoint, args.checkpoint_path, task=args.task, latent_dim=args.latent_dim)
    module = load_submission(args.submission)
    set_random_seed(args.seed)

    def fresh_model():
        model = build_model(module, args.task, latent_dim)
        load_weights(model, checkpoint, args.checkpoint_path)
        return model.to(args.device)

    # Two models, like the two processes of class grading: only the codes are passed from one to the other.
    used_labels = labels if conditional else None
    encoder = fresh_model()
    codes = encode_pictures(encoder, module, images, used_labels, args.batch_size)
    if codes.shape[1] != latent_dim:
        raise LabError(
            f"{type(encoder).__name__} was built with latent_dim={latent_dim}, but forward passes codes of width "
            f"{codes.shape[1]} to decode: make the code as wide as latent_dim."
        )
    decoder = fresh_model()
    recon = decode_codes(decoder, module, codes, used_labels, args.batch_size)
    z = draw_normal(latent_dim, args.gen_num, args.seed)
    generated = generate(decoder, module, z, conditional, args.batch_size)
    between = decode_codes(decoder, module, *interpolate(codes, labels, conditional), args.batch_size)
    firsts = [np.flatnonzero(labels == digit)[0] for digit in range(10) if (labels == digit).any()]
    relabelled = None  # the first picture of each digit, decoded with every label
    if conditional:
        every_label = np.tile(np.arange(10, dtype=np.uint8), len(firsts))
        relabelled = decode_codes(decoder, module, np.repeat(codes[firsts], 10, axis=0), every_label, args.batch_size)
    kl, spread = measure_codes(encoder, module, images, used_labels, args.batch_size)

    args.save_dir.mkdir(parents=True, exist_ok=True)
    draw_sheets(args.save_dir, images, recon, generated, between, firsts, relabelled)
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
    if args.can_be_graded:
        print(f"next: {command('grade.py', f'--{args.task}_output_dir', args.save_dir, *args.other_data)}")
    else:
        print("grade.py needs more pictures: run this again without --inf_num and --gen_num")


if __name__ == "__main__":
    run_command(main)
