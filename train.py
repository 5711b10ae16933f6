"""Train a submission's VAE or GenModel.

    python train.py --task VAEwolabel --epochs 10 --latent_dim 20
    python train.py --task Genwithlabel --epochs 10 --latent_dim 20 --var 0.1
    python train.py --task VAEwolabel --load_from_checkpoint          # resume the task's newest run

A run's folder is runs/TASK/NAME, with its settings in NAME, unless you give --save_dir. A run keeps its settings: when
you resume it, only --epochs and arguments that cannot change the result (the device, TensorBoard) may differ.
"""

import argparse
from pathlib import Path

import torch

from data_utils import MNISTDataset, get_rng_state, load_split, set_random_seed, set_rng_state
from lab import resume
from lab.cli import Parser, boolean, command, default_device, device, lab_path, number, run_command
from lab.contract import SubmissionError, build_model, load_submission, run_forward
from lab.files import sha256
from lab.losses import has_own_loss, make_loss, mean_picture_loss, note_if_useless
from lab.plots import draw_loss_curve, save_sheet
from lab.run import Run
from lab.tasks import TASKS
from trainer import Trainer


def make_parser():
    parser = Parser(description=__doc__)
    flag = {"type": boolean, "nargs": "?", "const": True, "default": False}
    parser.add_argument("--task", choices=TASKS, required=True, help="which of the two models to train")
    parser.add_argument("--submission", type=Path, default=Path("submission.py"), help="the file with your classes")
    text = "passes over the training pictures; you may increase it to resume a run"
    parser.add_argument("--epochs", type=number(int, 1), default=10, help=text)
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--batch_size", type=number(int, 1), default=128, help="pictures per step")
    text = "peak learning rate: a short warm-up, then linear decay to 0 at the end of --epochs; a run resumed "
    text += "with more epochs continues with the rates of the longer run"
    parser.add_argument("--lr", type=number(float, 0, False), default=1e-3, help=text)
    parser.add_argument("--var", type=number(float, 0, False), default=0.5, help="variance of p(x|z); small is sharp")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for weights, order and noise")
    parser.add_argument("--pred_step", type=number(int, 1), default=200, help="validate every N steps ...")
    parser.add_argument("--eval_num", type=number(int, 1), default=1000, help="... on the first N pictures")
    train, valid = lab_path("dataset/train.npz"), lab_path("dataset/valid.npz")
    parser.add_argument("--train_data", type=Path, default=train, help="the split to train on")
    parser.add_argument("--valid_data", type=Path, default=valid, help="the split to validate on")
    parser.add_argument("--save_dir", type=Path, help="the run's folder (default: runs/TASK/NAME)")
    parser.add_argument("--load_from_checkpoint", help="resume a run: --save_dir's, or the task's newest", **flag)
    text = "resume from this epoch_N.pth, deleting later ones (default: the newest)"
    parser.add_argument("--checkpoint", type=Path, help=text)
    parser.add_argument("--show_loss_plot", help="open the loss curve in a window at the end", **flag)
    parser.add_argument("--save_loss_plot", help=argparse.SUPPRESS, **flag)  # for older scripts; it is always saved
    parser.add_argument("--tensorboard", help="also write the history for TensorBoard", **flag)
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--bf16", help="forward pass in bfloat16: faster on GPUs and on CPUs with avx512_bf16", **flag)
    return parser


def load_data(args):
    """Return the training and the validation set, and the SHA-256 sums of their pictures and labels."""
    splits = {name: load_split(getattr(args, name)) for name in resume.DATA}
    sums = {name: sha256(*arrays) for name, arrays in splits.items()}
    return [MNISTDataset(*arrays, device=args.device) for arrays in splits.values()], sums


def find_landmark(model, module, train_set, args):
    """Return the vae_loss of a decoder that always outputs the mean training picture, None for a different loss."""
    if has_own_loss(model):
        return None
    state = get_rng_state()
    try:
        return mean_picture_loss(module, train_set.images, args.latent_dim, args.var)
    except SubmissionError:
        return None
    finally:
        set_rng_state(state)


def main():
    args = resume.parse_args(make_parser)
    module = load_submission(args.submission)
    content = args.submission.read_bytes()
    set_random_seed(args.seed)
    (train_set, valid_set), sums = load_data(args)
    sums["submission"] = sha256(content)
    if args.run is not None:
        resume.check_sums(make_parser(), args, sums)
    model = build_model(module, args.task, args.latent_dim)

    def reconstruct(model, count):
        x, labels = valid_set.__getitems__(range(min(count, len(valid_set))))
        with torch.no_grad():
            return x, run_forward(model, module, x, labels if TASKS[args.task].conditional else None)[0]

    def draw(model, path):
        pictures = torch.stack(reconstruct(model, 16)).float().cpu()
        save_sheet(path, pictures, "validation pictures over their reconstructions")

    names = ("epochs", "batch_size", "lr", "seed", "pred_step", "eval_num", "device", "bf16", "tensorboard")
    trainer = Trainer(
        model,
        make_loss(module, args.task, args.var),
        train_set,
        valid_set,
        draw=draw,
        extra={"task": args.task, "latent_dim": args.latent_dim, "var": args.var},
        landmark=find_landmark(model, module, train_set, args),
        **{name: getattr(args, name) for name in names},
    )
    run = args.run
    if run is None:
        run = Run.create(args, content)
    else:
        resume.load_newest(trainer, make_parser(), args)
    next_command = command("inference.py", "--task", args.task, "--checkpoint_path", run.best)
    if trainer.epoch == args.epochs:
        run.write_history(trainer.history)  # the run may have been killed just before writing it
        print(f"already at {trainer.epoch} of {args.epochs}; give --epochs {2 * args.epochs} to train on")
        print(f"next: {next_command}")
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    resume.write_config(run, args, {"sha256": sums, "parameters": parameters})
    print(f"{args.task}, latent_dim {args.latent_dim}, on {args.device}; everything is written to {run}")

    try:
        history = trainer.train(run.folder)
    except KeyboardInterrupt:
        again = command("train.py", "--task", args.task, "--load_from_checkpoint", "--save_dir", run)
        print(f"\nto resume:\nnext: {again}")
        raise
    if args.show_loss_plot:
        draw_loss_curve(history, run.loss_curve, trainer.landmark, show=True)
    note_if_useless(*reconstruct(model.eval(), 1000), train_set.images)
    print(f"next: {next_command}")


if __name__ == "__main__":
    run_command(main)
