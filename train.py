"""Train a submission's VAE or GenModel.

    python train.py --task VAEwolabel --epochs 10 --latent_dim 20
    python train.py --task Genwithlabel --epochs 10 --latent_dim 20 --var 0.1
    python train.py --task VAEwolabel --load_from_checkpoint          # go on with the task's newest run

A run's folder is runs/TASK/NAME, with its hyperparameters in NAME, unless --save_dir says otherwise.
"""

import argparse
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import torch

from data_utils import MNISTDataset, load_split, save_sheet, set_random_seed
from lab.cli import LabError, default_device, device, number, run_command
from lab.files import newest, write_whole
from submission_api import TASKS, build_model, load_checkpoint, load_submission, load_weights, make_loss, run_forward
from trainer import Trainer, draw_loss_curve

RUNS = Path("runs")
NOT_OF_THE_RUN = ("save_dir", "load_from_checkpoint", "checkpoint", "show_loss_plot", "device")  # of this call only


def boolean(text):
    """`--flag` alone is true; older scripts write `--flag True`."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(
            f"expected true or false, got {text!r} (a checkpoint's path goes to --checkpoint)"
        )
    return text.lower() in ("true", "1")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flag = {"type": boolean, "nargs": "?", "const": True, "default": False}
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--submission", type=Path, default=Path("submission.py"), help="the file with your classes")
    parser.add_argument("--epochs", type=number(int, 1), default=10)
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--batch_size", type=number(int, 1), default=128)
    parser.add_argument(
        "--lr",
        type=number(float, 0, False),
        default=1e-3,
        help="peak learning rate: a short rise, then a linear fall to 0",
    )
    parser.add_argument("--var", type=number(float, 0, False), default=0.5, help="variance of p(x|z): small is sharp")
    parser.add_argument("--seed", type=number(int, 0), default=0)
    parser.add_argument("--pred_step", type=number(int, 1), default=200, help="validate every so many steps ...")
    parser.add_argument("--eval_num", type=number(int, 1), default=1000, help="... on so many pictures")
    parser.add_argument("--train_data", type=Path, default=Path("dataset/train.npz"))
    parser.add_argument("--valid_data", type=Path, default=Path("dataset/valid.npz"))
    parser.add_argument("--save_dir", type=Path, help="the run's folder (default: runs/TASK/NAME)")
    parser.add_argument("--load_from_checkpoint", help="go on with a run: --save_dir's, or the newest", **flag)
    parser.add_argument("--checkpoint", type=Path, help="the checkpoint to go on from (default: the run's newest)")
    parser.add_argument("--show_loss_plot", help="open the loss curve in a window at the end", **flag)
    parser.add_argument("--save_loss_plot", help="kept for older scripts: the loss curve is always saved", **flag)
    parser.add_argument("--tensorboard", help="also write the history for TensorBoard", **flag)
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--bf16", help="forward pass in bfloat16: faster on GPUs and on CPUs with avx512_bf16", **flag)

    args = parser.parse_args()
    args.load_from_checkpoint = args.load_from_checkpoint or args.checkpoint is not None
    if not args.load_from_checkpoint:
        return args

    run_dir = find_run(args)
    config = read_config(run_dir)
    parser.set_defaults(**config)  # so that only what is typed now can differ from the run
    resumed = parser.parse_args()
    for name in ("task", "latent_dim"):
        if getattr(resumed, name) != config[name]:
            raise LabError(
                f"{run_dir} was trained with --{name} {config[name]}, you asked for {getattr(resumed, name)}: give "
                f"--{name} {config[name]} to go on with it, or leave --load_from_checkpoint out to start a new run."
            )
    resumed.load_from_checkpoint, resumed.save_dir = True, run_dir
    return resumed


def find_run(args):
    """Return the folder of the run to go on with."""
    if args.save_dir is not None:
        return args.save_dir
    if args.checkpoint is not None:
        return args.checkpoint.parent
    config = newest(RUNS / args.task, "*/config.json")
    if config is None:
        raise LabError(
            f"there is no run in {RUNS / args.task} to go on with: leave --load_from_checkpoint out to start one, "
            "or name its folder with --save_dir."
        )
    return config.parent


def read_config(run_dir):
    """Return the arguments that a run was started with; its submission is the run's own copy."""
    path = run_dir / "config.json"
    try:
        config = json.loads(path.read_text())["arguments"]
        config["task"], config["latent_dim"]
    except FileNotFoundError as error:
        raise LabError(
            f"{run_dir} holds no run to go on with ({path} is missing): start one without --load_from_checkpoint."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is damaged ({error}): start a new run without --load_from_checkpoint.") from error
    paths = {name: Path(config[name]) for name in ("train_data", "valid_data")}
    return config | paths | {"submission": run_dir / "submission.py"}


def make_run_dir(args):
    """Create and return a new run's folder; an existing run is never overwritten."""
    if args.save_dir is not None:
        if (args.save_dir / "config.json").exists() or any(args.save_dir.glob("*.pth")):
            raise LabError(
                f"{args.save_dir} already holds a run. Go on with it: --load_from_checkpoint "
                f"--save_dir {args.save_dir}. Or start a new one: another --save_dir."
            )
        args.save_dir.mkdir(parents=True, exist_ok=True)
        return args.save_dir
    name = (
        f"latent{args.latent_dim}_var{args.var:g}_lr{args.lr:g}"
        f"_batch{args.batch_size}_epochs{args.epochs}_seed{args.seed}"
    )
    count = 1
    while True:
        run_dir = RUNS / args.task / (name if count == 1 else f"{name}_{count}")
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            count += 1


def write_settings(args, model, run_dir):
    """Leave config.json, hyperparams.json and a copy of the submission in the run's folder."""
    arguments = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(args).items()
        if name not in NOT_OF_THE_RUN
    }
    names = ("task", "latent_dim", "epochs", "batch_size", "lr", "var", "seed", "bf16")
    hyperparams = {name: arguments[name] for name in names}
    hyperparams["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    # The submission first: config.json says that the folder holds a run.
    with write_whole(run_dir / "submission.py") as temporary:
        shutil.copyfile(args.submission, temporary)
    for name, content in (
        ("hyperparams.json", hyperparams),
        ("config.json", {"arguments": arguments, "device": args.device, "versions": versions}),
    ):
        with write_whole(run_dir / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def resume(trainer, args):
    """Put the run's newest checkpoint, or the one that --checkpoint names, into the trainer."""
    path = args.checkpoint or max(args.save_dir.glob("epoch_*.pth"), key=lambda path: int(path.stem[6:]), default=None)
    if path is None:
        print(f"{args.save_dir} has no checkpoint yet: it starts over at epoch 1")
        return
    checkpoint = load_checkpoint(path)
    load_weights(trainer.model, checkpoint, path)
    try:
        trainer.load(checkpoint)
    except (KeyError, ValueError, TypeError) as error:
        raise LabError(
            f"{path} cannot be gone on with, only used ({type(error).__name__}: {error}): it lacks what training needs."
        ) from error
    print(f"goes on after epoch {trainer.epoch} of {path}")


def warn_if_useless(recon, x, train_set):
    """Print a note if reconstructions of x, both [B, 28, 28], are no better than the mean picture for all of them."""
    own = (recon - x).square().sum(dim=(1, 2)).mean().item()
    mean_picture = train_set.images.float().div(255).var(dim=0, correction=0).sum().item()
    if not own < 0.95 * mean_picture:
        print(
            f"note: reconstructions are no better than one mean picture for all would be (squared error {own:.1f}, "
            f"that {mean_picture:.1f}): train longer, or compare the loss curves of the handout's section 2.4 (--lr "
            "too high? --var too large?)"
        )


def main():
    args = parse_args()
    module = load_submission(args.submission)
    set_random_seed(args.seed)
    train_set = MNISTDataset(*load_split(args.train_data), device=args.device)
    valid_set = MNISTDataset(*load_split(args.valid_data), device=args.device)
    model = build_model(module, args.task, args.latent_dim)

    def reconstruct(model, count):
        x, labels = valid_set.__getitems__(range(min(count, len(valid_set))))
        with torch.no_grad():
            return x, run_forward(model, module, x, labels if args.task == "Genwithlabel" else None)[0]

    def draw(model, path):
        pictures = torch.stack(reconstruct(model, 16)).float().cpu()
        save_sheet(path, pictures, "validation pictures over their reconstructions")

    trainer = Trainer(
        model,
        make_loss(module, args.task, args.var),
        train_set,
        valid_set,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        seed=args.seed,
        pred_step=args.pred_step,
        eval_num=args.eval_num,
        device=args.device,
        bf16=args.bf16,
        draw=draw,
        extra={"task": args.task, "latent_dim": args.latent_dim},
        tensorboard=args.tensorboard,
    )
    if args.load_from_checkpoint:
        run_dir = args.save_dir
        resume(trainer, args)
    else:
        run_dir = make_run_dir(args)
    write_settings(args, model, run_dir)
    print(f"{args.task}, latent_dim {args.latent_dim}, on {args.device}; everything goes to {run_dir}")

    try:
        history = trainer.train(run_dir)
    except KeyboardInterrupt:
        print(f"\ngo on with: python train.py --task {args.task} --load_from_checkpoint --save_dir {run_dir}")
        raise
    if args.show_loss_plot:
        draw_loss_curve(history, run_dir / "loss_curve.png", show=True)
    warn_if_useless(*reconstruct(model.eval(), 1000), train_set)
    print(f"python inference.py --task {args.task} --checkpoint_path {run_dir / 'best.pth'}")


if __name__ == "__main__":
    run_command(main)
