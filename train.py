"""Train a submission's VAE or GenModel.

    python train.py --task VAEwolabel --epochs 10 --latent_dim 20
    python train.py --task Genwithlabel --epochs 10 --latent_dim 20 --var 0.1
    python train.py --task VAEwolabel --load_from_checkpoint          # resume the task's newest run

A run's folder is runs/TASK/NAME, with its settings in NAME, unless --save_dir says otherwise. A run has one setting: to
resume it, only --epochs and what cannot change the result (the device, TensorBoard) may differ.
"""

import argparse
import shutil
from pathlib import Path

import torch

from data_utils import MNISTDataset, batches, get_rng_state, load_split, save_sheet, set_random_seed, set_rng_state
from lab import resume
from lab.checkpoints import load_checkpoint, load_weights
from lab.cli import LabError, Parser, command, default_device, device, lab_path, number, run_command
from lab.contract import SubmissionError, build_model, load_submission, run_forward
from lab.files import sha256
from lab.losses import make_loss, prior_loss
from lab.plots import draw_loss_curve
from lab.run import Run
from lab.tasks import TASKS
from trainer import Trainer


def boolean(text):
    """`--flag` alone is true; older scripts write `--flag True`."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(
            f"expected true or false, got {text!r} (a checkpoint's path goes to --checkpoint)"
        )
    return text.lower() in ("true", "1")


def make_parser():
    parser = Parser(description=__doc__)
    flag = {"type": boolean, "nargs": "?", "const": True, "default": False}
    parser.add_argument("--task", choices=TASKS, required=True, help="which of the two models to train")
    parser.add_argument("--submission", type=Path, default=Path("submission.py"), help="the file with your classes")
    parser.add_argument(
        "--epochs",
        type=number(int, 1),
        default=10,
        help="passes over the training pictures; a resumed run may get more",
    )
    parser.add_argument("--latent_dim", type=number(int, 1), default=20, help="width of the code z")
    parser.add_argument("--batch_size", type=number(int, 1), default=128, help="pictures per step")
    parser.add_argument(
        "--lr",
        type=number(float, 0, False),
        default=1e-3,
        help="peak learning rate: a short rise, then a linear fall to 0 at the end of --epochs; given more epochs, a "
        "resumed run goes on with the rates of the longer run",
    )
    parser.add_argument("--var", type=number(float, 0, False), default=0.5, help="variance of p(x|z): small is sharp")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of the weights, the order and the noise")
    parser.add_argument("--pred_step", type=number(int, 1), default=200, help="validate every N steps ...")
    parser.add_argument("--eval_num", type=number(int, 1), default=1000, help="... on the first N pictures")
    parser.add_argument("--train_data", type=Path, default=lab_path("dataset/train.npz"), help="the split to train on")
    parser.add_argument(
        "--valid_data", type=Path, default=lab_path("dataset/valid.npz"), help="the split to validate on"
    )
    parser.add_argument("--save_dir", type=Path, help="the run's folder (default: runs/TASK/NAME)")
    parser.add_argument("--load_from_checkpoint", help="resume a run: --save_dir's, or the task's newest", **flag)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="resume from this epoch_N.pth; later ones are deleted (default: the newest)",
    )
    parser.add_argument("--show_loss_plot", help="open the loss curve in a window at the end", **flag)
    parser.add_argument("--save_loss_plot", help="kept for older scripts: the loss curve is always saved", **flag)
    parser.add_argument("--tensorboard", help="also write the history for TensorBoard", **flag)
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--bf16", help="forward pass in bfloat16: faster on GPUs and on CPUs with avx512_bf16", **flag)
    return parser


def parse_args():
    """Return the arguments; `run` is the Run that they resume, None for a new one."""
    return resume.parse_args(make_parser)


def load_data(args):
    """Return the training and the validation set, and the SHA-256 sums of their pictures and labels."""
    splits = {name: load_split(getattr(args, name)) for name in resume.DATA}
    sums = {name: sha256(*arrays) for name, arrays in splits.items()}
    return [MNISTDataset(*arrays, device=args.device) for arrays in splits.values()], sums


def start_run(args, content):
    """Return a new Run, in a folder of its own, with a copy of the submission."""
    name = (
        f"latent{args.latent_dim}_var{args.var:g}_lr{args.lr:g}"
        f"_batch{args.batch_size}_epochs{args.epochs}_seed{args.seed}"
    )
    return Run.create(args.task, name, args.save_dir, args.submission, content)


def load_newest(trainer, args):
    """Put the run's newest checkpoint, or the one that --checkpoint names, into the trainer.

    From an older checkpoint the run goes on as another branch: what is newer in its folder is deleted.
    """
    run = args.run
    path = args.checkpoint or (run.epoch_path(run.epochs()[-1]) if run.epochs() else None)
    if path is None:
        if run.best.exists() and (best := load_checkpoint(run.best).get("epoch")) != 1:
            raise LabError(
                f"{run} has no epoch_N.pth to resume from, and its best.pth (of epoch {best}) would be overwritten: "
                f"start a new run:\nnext: {resume.new_run_command(make_parser(), args)}"
            )
        print(f"{run} has no checkpoint yet: it starts over at epoch 1")
        return
    checkpoint = load_checkpoint(path)
    load_weights(trainer.model, checkpoint, path)
    try:
        trainer.load(checkpoint)
    except LabError as error:
        raise LabError(f"{path} cannot be resumed: {error}") from error
    if trainer.epoch > args.epochs:
        raise LabError(f"{path} is already at epoch {trainer.epoch}: give --epochs {2 * trainer.epoch} to train on.")
    later = [epoch for epoch in run.epochs() if epoch > trainer.epoch]
    print(f"resumes after epoch {trainer.epoch} of {path}")
    if later and trainer.epoch == args.epochs:
        return  # there is nothing to train, so nothing is deleted
    if not run.epoch_path(trainer.epoch).exists():
        shutil.copyfile(path, run.epoch_path(trainer.epoch))
    if later:
        print(f"the checkpoints of the later epochs, {later[0]} to {later[-1]}, are deleted")
        run.drop_after(trainer.epoch)
    fit_best(run, trainer)


def fit_best(run, trainer):
    """Replace a best.pth that is missing, or of an epoch that was deleted, by the best checkpoint that is left."""
    try:
        if load_checkpoint(run.best)["epoch"] <= trainer.epoch:
            return
    except (LabError, KeyError, TypeError):
        pass
    losses = {row["epoch"]: row["valid_loss"] for row in trainer.history}  # the last row of each epoch
    best = min((epoch for epoch in run.epochs() if epoch in losses), key=losses.get)
    run.write_best(load_checkpoint(run.epoch_path(best)) | {"valid_loss": losses[best]})
    trainer.best_loss = losses[best]


def find_landmark(model, module, train_set, args):
    """Return the vae_loss of a decoder that always paints the mean training picture (and KL 0), None where the loss is
    another."""
    if callable(getattr(model, "loss", None)):
        return None
    mean, total = train_set.images.float().mean(dim=0) / 255, 0.0
    state = get_rng_state()
    try:
        for x, _ in batches(train_set, 1000):
            total += prior_loss(module, mean.expand_as(x).clone(), x, args.latent_dim, args.var) * len(x)
    except SubmissionError:
        return None
    finally:
        set_rng_state(state)
    return total / len(train_set)


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
        extra={"task": args.task, "latent_dim": args.latent_dim, "var": args.var},
        landmark=find_landmark(model, module, train_set, args),
        tensorboard=args.tensorboard,
    )
    run = args.run
    if run is None:
        run = start_run(args, content)
    else:
        load_newest(trainer, args)
    next_command = command("inference.py", "--task", args.task, "--checkpoint_path", run.best)
    if trainer.epoch == args.epochs:
        run.write_history(trainer.history)  # it may have been killed just before
        print(f"already at {trainer.epoch} of {args.epochs}; give --epochs {2 * args.epochs} to train on")
        print(f"next: {next_command}")
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    resume.write_config(run, args, {"sha256": sums, "parameters": parameters})
    print(f"{args.task}, latent_dim {args.latent_dim}, on {args.device}; everything goes to {run}")

    try:
        history = trainer.train(run.folder)
    except KeyboardInterrupt:
        again = command("train.py", "--task", args.task, "--load_from_checkpoint", "--save_dir", run)
        print(f"\nto resume:\nnext: {again}")
        raise
    if args.show_loss_plot:
        draw_loss_curve(history, run.loss_curve, trainer.landmark, show=True)
    warn_if_useless(*reconstruct(model.eval(), 1000), train_set)
    print(f"next: {next_command}")


if __name__ == "__main__":
    run_command(main)
