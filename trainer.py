"""The training loop and all that belongs to it: validation, history, checkpoints, pictures, stop and resume.

It knows nothing of MNIST or of submissions: a model, a loss function and two datasets come in, a history goes out.
"""

import csv
import time
from pathlib import Path

import torch
from torch.utils.data import Subset
from tqdm import tqdm

from data_utils import batches, get_rng_state, set_rng_state
from lab.cli import LabError
from lab.files import write_whole

KEEP_EPOCHS = 5  # how many epoch_N.pth stay
WARMUP = 0.05  # share of the steps in which the linear schedule rises to lr
SEED_STRIDE = 100_003  # a prime: the shuffling seeds of two runs with neighbouring seeds do not meet
EVAL_BATCH = 1000


class Diverged(LabError):
    """The loss became NaN or infinite."""


class Trainer:
    """Trains a model; a run's folder then holds history.csv, epoch_N.pth (the newest five), best.pth, loss_curve.png
    and samples/.

    model            nn.Module; it is moved to `device`
    loss_function    loss_function(model, batch) → {"loss": scalar to minimise, any other name: scalar to log}, each a
                     mean over the batch
    train_set, valid_set    datasets with `__getitems__(indices)` → batch, a tuple of tensors on `device`
    epochs, batch_size, lr, seed    as usual; Adam is the optimizer
    schedule         "linear": lr rises over the first 5 % of the steps, then falls to 0; "constant"
    pred_step        validate every so many steps (and at the end of each epoch) ...
    eval_num         ... on so many pictures, the first of valid_set
    bf16             run the forward pass in bfloat16 (autocast)
    draw             draw(model, path): called in eval mode after each epoch to draw samples/epoch_NNN.png
    extra            plain values that go into every checkpoint
    tensorboard      also write the history for TensorBoard

    One forward and one loss are run here, so that a wrong shape stops before anything is trained or written.
    """

    def __init__(
        self,
        model,
        loss_function,
        train_set,
        valid_set,
        *,
        epochs=10,
        batch_size=128,
        lr=1e-3,
        schedule="linear",
        seed=0,
        pred_step=200,
        eval_num=1000,
        device="cpu",
        bf16=False,
        draw=None,
        extra=None,
        tensorboard=False,
    ):
        self.model = model.to(device)
        self.loss_function = loss_function
        self.train_set = train_set
        self.valid_set = Subset(valid_set, range(min(eval_num, len(valid_set))))
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.schedule = schedule
        self.seed = seed
        self.pred_step = pred_step
        self.autocast = torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=bf16)
        self.draw = draw
        self.extra = extra or {}
        self.summary_writer = import_summary_writer() if tensorboard else None
        self.tensorboard = None  # opened by train

        parameters = list(model.parameters())
        if not parameters:
            raise LabError(
                f"{type(model).__name__} has no parameters to train: assign its layers to self in __init__ "
                "(a plain Python list hides them; nn.ModuleList does not)."
            )
        fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
        self.optimizer = torch.optim.Adam(parameters, lr, fused=fused)
        self.epoch = 0  # epochs finished
        self.best_loss = float("inf")
        self.seconds = 0.0  # of training, over all sessions
        self.history = []  # one row a validation
        self.try_one_batch()

    @property
    def steps_per_epoch(self):
        return -(-len(self.train_set) // self.batch_size)

    def load(self, checkpoint):
        """Go on where a checkpoint of this class (the dict) stopped."""
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.epoch = checkpoint["epoch"]
        self.best_loss = checkpoint["best_loss"]
        self.seconds = checkpoint["seconds"]
        self.history = checkpoint["history"]
        set_rng_state(checkpoint["rng_state"])

    def train(self, run_dir):
        """Train up to `epochs` and return the history: a list of dicts, one a validation.

        run_dir: an existing folder for everything that is written. Raises Diverged, a LabError, when the loss
        becomes NaN or infinite; the last good checkpoint is kept.
        """
        self.run_dir = Path(run_dir)
        first = self.epoch * self.steps_per_epoch
        if self.summary_writer is not None:
            self.tensorboard = self.summary_writer(self.run_dir / "tensorboard", purge_step=first + 1)
        steps = self.epochs * self.steps_per_epoch
        # A bar that is redrawn twice a second costs nothing beside steps of a millisecond.
        with tqdm(total=steps, initial=first, unit="step", mininterval=0.5) as bar:
            if self.epoch:
                self.write_history()  # the run may have been stopped between its checkpoint and this file
            while self.epoch < self.epochs:
                start = time.perf_counter()
                self.train_epoch(bar)
                self.epoch += 1
                self.seconds += time.perf_counter() - start
                self.draw_pictures()  # before the checkpoint, so that no kill can leave an epoch without its picture
                self.save()
                bar.write(self.describe_epoch(time.perf_counter() - start))
        if self.tensorboard is not None:
            self.tensorboard.close()
        return self.history

    def try_one_batch(self):
        """Run the loss function once. Leaves no trace: eval mode, and the random generators are put back."""
        state = get_rng_state()
        self.evaluate(Subset(self.train_set, range(min(self.batch_size, len(self.train_set)))))
        set_rng_state(state)

    def train_epoch(self, bar):
        self.model.train()
        order = torch.Generator().manual_seed((self.seed * SEED_STRIDE + self.epoch) % 2**63)
        first = self.epoch * self.steps_per_epoch
        terms, sizes = [], []  # of the steps since the last validation
        for step, batch in enumerate(batches(self.train_set, self.batch_size, order), start=first):
            self.optimizer.param_groups[0]["lr"] = rate = self.learning_rate(step)
            with self.autocast:
                losses = self.loss_function(self.model, batch)
            self.optimizer.zero_grad()
            losses["loss"].backward()
            self.optimizer.step()

            terms.append({name: value.detach() for name, value in losses.items()})
            sizes.append(len(batch[0]))
            bar.update()
            done = step - first + 1
            if done % self.pred_step == 0 or done == self.steps_per_epoch:
                self.log(step + 1, rate, terms, sizes, bar)
                terms, sizes = [], []

    def learning_rate(self, step):
        """Return the learning rate of a step, counted from 0."""
        if self.schedule == "constant":
            return self.lr
        steps = self.epochs * self.steps_per_epoch
        warmup = max(1, int(WARMUP * steps))
        return self.lr * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))

    def log(self, step, rate, terms, sizes, bar):
        """Validate and add a row to the history: averages over the pictures since the last row, and of valid_set."""
        losses = torch.stack([row["loss"] for row in terms])
        # Looked at here and not in each step, because on a GPU every look waits for the device.
        if not losses.isfinite().all():
            bad = int((~losses.isfinite()).nonzero()[0])
            self.stop_for(f"the training loss became {losses[bad]:.3g} at step {step - len(terms) + bad + 1}")
        valid = self.evaluate(self.valid_set)
        if not torch.tensor(valid["loss"]).isfinite():
            self.stop_for(f"the validation loss became {valid['loss']:.3g} after step {step}")
        train = weighted_means(terms, sizes)
        self.history.append(
            {"epoch": self.epoch + 1, "step": step, "lr": rate}
            | {f"train_{name}": value for name, value in train.items()}
            | {f"valid_{name}": value for name, value in valid.items()}
        )
        if self.tensorboard is not None:
            for split, values in (("train", train), ("valid", valid)):
                for name, value in values.items():
                    self.tensorboard.add_scalar(f"{name}/{split}", value, step)
        bar.set_postfix(train=f"{train['loss']:.2f}", valid=f"{valid['loss']:.2f}")

    def stop_for(self, reason):
        kept = (
            f"{self.run_dir / f'epoch_{self.epoch}.pth'} is the last good checkpoint"
            if self.epoch
            else "no epoch is saved"
        )
        raise Diverged(
            f"{reason} (epoch {self.epoch + 1}), so training stopped; {kept}. "
            f"Expected a finite number: try a lower --lr than {self.lr:g}, and look for log or exp of large values."
        )

    @torch.no_grad()
    def evaluate(self, dataset):
        """Return the means of the loss function's terms over a dataset, in eval mode."""
        training = self.model.training
        self.model.eval()
        terms, sizes = [], []
        for batch in batches(dataset, EVAL_BATCH):
            with self.autocast:
                terms.append(self.loss_function(self.model, batch))
            sizes.append(len(batch[0]))
        self.model.train(training)
        return weighted_means(terms, sizes)

    def save(self):
        """Write best.pth if this epoch is the best, then epoch_N.pth and history.csv, and drop the oldest epoch."""
        valid_loss = self.history[-1]["valid_loss"]
        is_best = valid_loss < self.best_loss
        self.best_loss = min(valid_loss, self.best_loss)
        checkpoint = {
            **self.extra,
            "epoch": self.epoch,
            "best_loss": self.best_loss,
            "seconds": self.seconds,
            "history": self.history,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "rng_state": get_rng_state(),
        }
        # epoch_N.pth last: a run that is killed in between repeats this epoch and writes the same best.pth again.
        for name in ["best.pth"] * is_best + [f"epoch_{self.epoch}.pth"]:
            with write_whole(self.run_dir / name) as temporary:
                torch.save(checkpoint, temporary)
        (self.run_dir / f"epoch_{self.epoch - KEEP_EPOCHS}.pth").unlink(missing_ok=True)
        self.write_history()

    def write_history(self):
        with write_whole(self.run_dir / "history.csv") as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.history[0].keys())
            writer.writeheader()
            writer.writerows(self.history)

    def describe_epoch(self, seconds):
        """Return an epoch's health in one line."""
        row = self.history[-1]
        parts = " + ".join(f"{name} {row[f'train_{name}']:.2f}" for name in ("rec", "kl") if f"train_{name}" in row)
        return (
            f"epoch {self.epoch:>3}/{self.epochs}  train {row['train_loss']:.2f}{f' = {parts}' if parts else ''}  "
            f"valid {row['valid_loss']:.2f}  {seconds:.1f} s, {1000 * seconds / self.steps_per_epoch:.1f} ms a step"
        )

    def draw_pictures(self):
        draw_loss_curve(self.history, self.run_dir / "loss_curve.png")
        if self.draw is not None:
            self.model.eval()
            (self.run_dir / "samples").mkdir(exist_ok=True)
            self.draw(self.model, self.run_dir / "samples" / f"epoch_{self.epoch:03d}.png")


def import_summary_writer():
    """Return TensorBoard's SummaryWriter; raises LabError where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LabError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter


def weighted_means(terms, sizes):
    """Return each term's mean over the pictures, from means over batches of the given sizes."""
    weights = torch.tensor(sizes, dtype=torch.float64)
    return {
        name: (torch.stack([row[name] for row in terms]).cpu().double() @ weights / weights.sum()).item()
        for name in terms[0]
    }


def draw_loss_curve(history, path, show=False):
    """Draw the training and the validation loss over the steps, each with its parts, and write it as PNG."""
    if show:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(7, 4))
    else:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    steps = [row["step"] for row in history]
    for number, name in enumerate(key.removeprefix("train_") for key in history[0] if key.startswith("train_")):
        for split, style in (("train", "--"), ("valid", "-")):
            values = [row[f"{split}_{name}"] for row in history]
            axes.plot(
                steps,
                values,
                style,
                color=f"C{number}",
                label=f"{name}, {split}",
                marker="." if len(steps) < 30 else "",
            )
    axes.set_xlabel("step")
    axes.set_ylabel("loss, mean over pictures")
    axes.legend()
    axes.grid(alpha=0.3)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)
    if show:
        pyplot.show()
