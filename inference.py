"""Reconstruct a split's pictures and generate digits with a trained submission.

    python inference.py --task VAEwolabel                              # the task's newest run
    python inference.py --task Genwithlabel --checkpoint_path runs/Genwithlabel/NAME/best.pth --png

Writes recon.npz, gen.npz, meta.json and the sheets recon.png, gen.png and interpolation.png into the checkpoint's
folder under output/, unless --save_dir says otherwise. grade.py reads that folder.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data_utils import load_split, save_sheet, set_random_seed
from lab.cli import LabError, default_device, device, number, run_command
from lab.files import newest, write_whole
from submission_api import (
    TASKS,
    build_model,
    decode_codes,
    encode_pictures,
    load_checkpoint,
    load_submission,
    load_weights,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--checkpoint_path", type=Path, help="default: best.pth of the task's newest run")
    parser.add_argument("--latent_dim", type=number(int, 1), help="only for checkpoints that do not say it themselves")
    parser.add_argument("--submission", type=Path, help="default: the copy beside the checkpoint, else submission.py")
    parser.add_argument("--data_path", type=Path, default=Path("dataset/valid.npz"), help="the split to reconstruct")
    parser.add_argument("--save_dir", type=Path, help="default: output/ beside the checkpoint")
    parser.add_argument("--inf_num", type=number(int, 1), help="reconstruct only the first so many pictures")
    parser.add_argument("--gen_num", type=number(int, 1), default=1000, help="generate so many pictures of each digit")
    parser.add_argument("--batch_size", type=number(int, 1), default=1000)
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the codes that digits are generated from")
    parser.add_argument("--png", action="store_true", help="also write one PNG a picture")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    args = parser.parse_args()
    if args.checkpoint_path is None:
        args.checkpoint_path = newest(Path("runs") / args.task, "*/best.pth")
        if args.checkpoint_path is None:
            raise LabError(
                f"runs/{args.task} holds no trained run: python train.py --task {args.task}, or give --checkpoint_path."
            )
    beside = args.checkpoint_path.parent
    if args.submission is None:
        args.submission = beside / "submission.py" if (beside / "submission.py").is_file() else Path("submission.py")
    args.save_dir = args.save_dir or beside / "output"
    return args


def find_latent_dim(checkpoint, args):
    """Return the latent_dim of a checkpoint, after comparing it, and its task, with what was asked for."""
    for name in ("task", "latent_dim"):
        stored, asked = checkpoint.get(name), getattr(args, name)
        if stored is not None and asked is not None and stored != asked:
            raise LabError(
                f"{args.checkpoint_path} was trained with --{name} {stored}, you asked for {asked}: "
                f"leave --{name} out or give --{name} {stored}, or give another --checkpoint_path."
            )
    latent_dim = checkpoint.get("latent_dim", args.latent_dim)
    if latent_dim is None:
        raise LabError(f"{args.checkpoint_path} does not say its latent_dim: give --latent_dim.")
    return latent_dim


def draw_normal(latent_dim, gen_num, seed):
    """Return z ~ N(0, I) as float32 [10, gen_num, latent_dim]; the same seed gives the same z on every machine."""
    return torch.randn(10, gen_num, latent_dim, generator=torch.Generator().manual_seed(seed % 2**63)).numpy()


def generate(model, module, z, conditional, batch_size):
    """Return pictures uint8 [10, n, 28, 28] of codes z [10, n, latent_dim], decoded in batches of one digit."""
    return np.stack(
        [
            decode_codes(
                model, module, z[digit], np.full(len(z[digit]), digit, np.uint8) if conditional else None, batch_size
            )
            for digit in tqdm(range(10), desc="generating", unit="digit", leave=False)
        ]
    )


def interpolate(codes, labels, conditional, steps=10):
    """Return codes [10 * steps, latent_dim] on ten straight lines, and their labels (None in the VAE task).

    A line joins the codes of two pictures: of one digit where the labels are given to decode, else of neighbouring
    digits. Digits without a picture are left out.
    """
    firsts = {digit: np.flatnonzero(labels == digit) for digit in range(10) if (labels == digit).any()}
    digits = list(firsts)
    starts = [firsts[digit][0] for digit in digits]
    ends = [firsts[digit][-1] for digit in digits] if conditional else starts[1:] + starts[:1]
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    lines = [codes[a].astype(np.float32) * (1 - share) + codes[b] * share for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(lines), np.repeat(np.array(digits, np.uint8), steps) if conditional else None


def save_pngs(recon, generated, save_dir):
    """Write recon/recon_i.png and gen/<digit>/<i>.png."""
    from PIL import Image

    (save_dir / "recon").mkdir(exist_ok=True)
    for index, image in enumerate(tqdm(recon, desc="recon/*.png", leave=False)):
        Image.fromarray(image).save(save_dir / "recon" / f"recon_{index}.png")
    for digit, images in enumerate(tqdm(generated, desc="gen/*/*.png", leave=False)):
        (save_dir / "gen" / str(digit)).mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(save_dir / "gen" / str(digit) / f"{index}.png")


def main():
    args = parse_args()
    conditional = args.task == "Genwithlabel"
    images, labels = (array[: args.inf_num] for array in load_split(args.data_path))
    checkpoint = load_checkpoint(args.checkpoint_path)
    latent_dim = find_latent_dim(checkpoint, args)
    module = load_submission(args.submission)
    set_random_seed(args.seed)

    def fresh_model():
        model = build_model(module, args.task, latent_dim)
        load_weights(model, checkpoint, args.checkpoint_path)
        return model.to(args.device)

    # Two models, as class grading has two processes: nothing but the codes goes from one to the other.
    used_labels = labels if conditional else None
    codes = encode_pictures(fresh_model(), module, images, used_labels, args.batch_size)
    if codes.shape[1] != latent_dim:
        raise LabError(
            f"{TASKS[args.task]} was built with latent_dim={latent_dim}, but forward hands decode codes of width "
            f"{codes.shape[1]}: make the code as wide as latent_dim."
        )
    decoder = fresh_model()
    recon = decode_codes(decoder, module, codes, used_labels, args.batch_size)
    z = draw_normal(latent_dim, args.gen_num, args.seed)
    generated = generate(decoder, module, z, conditional, args.batch_size)
    between = decode_codes(decoder, module, *interpolate(codes, labels, conditional), args.batch_size)

    args.save_dir.mkdir(parents=True, exist_ok=True)
    (args.save_dir / "meta.json").unlink(missing_ok=True)  # it comes last, and says that all the rest is there
    with write_whole(args.save_dir / "recon.npz") as temporary:
        np.savez_compressed(temporary, images=recon, codes=codes)
    with write_whole(args.save_dir / "gen.npz") as temporary:
        np.savez_compressed(temporary, images=generated)
    pair = np.stack([images[:16], recon[:16]])
    save_sheet(args.save_dir / "recon.png", pair, "originals over their reconstructions")
    digits = [str(digit) for digit in range(10)] if conditional else None
    title = "generated from z ~ N(0, I)" + (", one row a digit" if conditional else "")
    save_sheet(args.save_dir / "gen.png", generated[:, :16], title, digits)
    lines = between.reshape(-1, 10, 28, 28)
    save_sheet(args.save_dir / "interpolation.png", lines, "straight lines between the codes of two pictures")
    if args.png:
        save_pngs(recon, generated, args.save_dir)
    meta = {
        "task": args.task,
        "latent_dim": latent_dim,
        "checkpoint": str(args.checkpoint_path),
        "submission": str(args.submission),
        "data": str(args.data_path),
        "inf_num": len(recon),
        "gen_num": args.gen_num,
        "seed": args.seed,
        "torch": torch.__version__,
    }
    with write_whole(args.save_dir / "meta.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=2) + "\n")
    print(f"{len(recon):,} reconstructions and {generated[..., 0, 0].size:,} generated pictures in {args.save_dir}")
    print(f"python grade.py --{args.task}_output_dir {args.save_dir}")


if __name__ == "__main__":
    run_command(main)
