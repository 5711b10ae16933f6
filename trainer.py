"""The training loop with validation, history, checkpoints, pictures, stopping and resuming.

It knows nothing about MNIST or submissions: it takes a model, a loss function and two datasets, and returns a history.
"""

import time

import torch
from torch.utils.data import Subset
from tqdm import tqdm

from data_utils import batches, get_rng_state, set_rng_state
from lab.cli import LabError
from lab.plots import draw_loss_curve
from lab.run import Run, rename_columns

WARMUP = 0.05  # share of the steps in which the linear schedule rises to lr
SEED_STRIDE = 100_003  # a prime: the shuffling seeds of runs with consecutive seeds do not overlap
EVAL_BATCH = 1000


class Diverged(LabError):
    """The loss became NaN or infinite."""


class Trainer:
    """Trains a model; its Run then holds the history, checkpoints, the loss curve and samples.

    model            nn.Module; it is moved to `device`
    loss_function    loss_function(model, batch) → {"loss": scalar to minimise, any other name: scalar to log}, each a
                     mean over the batch
    train_set, valid_set    datasets with `__getitems__(indices)` → batch, a tuple of tensors on `device`
    epochs, batch_size, lr, seed    as usual; the optimizer is Adam
    schedule         "linear": lr rises over the first 5 % of the steps, then falls to 0; "constant"
    pred_step        validate every N steps (and at the end of each epoch) ...
    eval_num         ... on the first N pictures of valid_set
    bf16             run the forward pass in bfloat16 (autocast)
    draw             draw(model, path): called in eval mode after each epoch to draw samples/epoch_NNN.png
    extra            plain values that are stored in every checkpoint
    landmark         a loss to compare with, drawn as a line in the loss curve
    tensorboard      also write the history for TensorBoard

    The constructor computes one loss, so that a wrong shape is reported before anything is trained or written.
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
        landmark=None,
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
        self.landmark = landmark
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
        self.history = []  # one row per validation
        self.try_one_batch()

    @property
    def steps_per_epoch(self):
        return -(-len(self.train_set) // self.batch_size)

    def load(self, checkpoint):
        """Restore the state from a checkpoint (the dict) of this class; raises LabError if anything is missing."""
        try:
            self.model.load_state_dict(checkpoint["model_state_dict"])
            self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
            for parameter, state in self.optimizer.state.items():
                if any(value.ndim and value.shape != parameter.shape for value in state.values()):
                    raise ValueError("the optimizer's state belongs to a different model")
            self.epoch = int(checkpoint["epoch"])
            self.best_loss = float(checkpoint["best_loss"])
            self.seconds = float(checkpoint["seconds"])
            rows = map(rename_columns, checkpoint["history"])
            self.history = [{name: value + 0 for name, value in row.items()} for row in rows]
            check_same_parts(self.history)
            self.history[-1]["valid_loss"], self.history[-1]["step"]
            set_rng_state(checkpoint["rng_state"])
        except Exception as error:  # in a damaged file, or one of other code, anything may be missing or wrong
            reason = f"{type(error).__name__}: {error}"
            raise LabError(f"it lacks what an epoch_N.pth contains to resume training ({reason}).") from error

    def train(self, run_dir):
        """Train up to `epochs` and return the history: a list of dicts, one per validation.

        run_dir: the Run's existing folder, to which everything is written. Raises Diverged, a LabError, if the loss
        becomes NaN or infinite; the last good checkpoint is kept.
        """
        self.run = Run(run_dir)
        first = self.epoch * self.steps_per_epoch
        if self.summary_writer is not None:
            self.tensorboard = self.summary_writer(self.run.tensorboard, purge_step=first + 1)
        steps = self.epochs * self.steps_per_epoch
        # Redrawing the bar twice per second takes negligible time.
        with tqdm(total=steps, initial=first, unit="step", mininterval=0.5, disable=None) as bar:
            if self.epoch:  # the run may have been stopped between writing its checkpoint and this file
                self.run.write_history(self.history)
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
        """Run the loss function once, in eval mode, without changing the state of the random generators."""
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
            losses = self.step(batch)
            terms.append({name: value.detach() for name, value in losses.items()})
            sizes.append(len(batch[0]))
            bar.update()
            done = step - first + 1
            if done % self.pred_step == 0 or done == self.steps_per_epoch:
                self.log(step + 1, rate, terms, sizes, bar)
                terms, sizes = [], []

    def step(self, batch):
        """Take one step of the optimizer, and return the loss function's terms for this batch."""
        with self.autocast:
            losses = self.loss_function(self.model, batch)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        self.optimizer.step()
        return losses

    def learning_rate(self, step):
        """Return the learning rate for a step, counted from 0."""
        if self.schedule == "constant":
            return self.lr
        steps = self.epochs * self.steps_per_epoch
        warmup = max(1, int(WARMUP * steps))
        return self.lr * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))

    def log(self, step, rate, terms, sizes, bar):
        """Validate and add a row to the history: means over the pictures since the last row, and over valid_set."""
        losses = torch.stack([row["loss"] for row in terms])
        # Checked here and not in each step, because on a GPU every check waits for the device.
        if not losses.isfinite().all():
            bad = int((~losses.isfinite()).nonzero()[0])
            self.stop_for(f"the training loss became {losses[bad]:.3g} at step {step - len(terms) + bad + 1}")
        valid = self.evaluate(self.valid_set)
        if not torch.tensor(valid["loss"]).isfinite():
            self.stop_for(f"the validation loss became {valid['loss']:.3g} after step {step}")
        train = weighted_means(terms, sizes)
        row = {"epoch": self.epoch + 1, "step": step, "lr": rate}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"valid_{name}": value for name, value in valid.items()}
        check_same_parts([*self.history[:1], row])
        self.history.append(row)
        if self.tensorboard is not None:
            for split, values in (("train", train), ("valid", valid)):
                for name, value in values.items():
                    self.tensorboard.add_scalar(f"{name}/{split}", value, step)
        bar.set_postfix(train=f"{train['loss']:.2f}", valid=f"{valid['loss']:.2f}")

    def stop_for(self, reason):
        kept = f"{self.run.epoch_path(self.epoch)} is the last good checkpoint" if self.epoch else "no epoch is saved"
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
        """Write this epoch's checkpoint into the run."""
        valid_loss = self.history[-1]["valid_loss"]
        is_best = valid_loss < self.best_loss
        self.best_loss = min(valid_loss, self.best_loss)
        checkpoint = {
            **self.extra,
            "epoch": self.epoch,
            "valid_loss": valid_loss,
            "best_loss": self.best_loss,
            "seconds": self.seconds,
            "history": self.history,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "rng_state": get_rng_state(),
        }
        self.run.save(checkpoint, is_best)

    def describe_epoch(self, seconds):
        """Return a summary of an epoch in one line."""
        row = self.history[-1]
        parts = {key.removeprefix("train_"): value for key, value in row.items() if key.startswith("train_")}
        loss = parts.pop("loss")
        if parts.keys() == {"recon_loss", "kl"}:
            terms = f" = recon_loss {parts['recon_loss']:.2f} + kl {parts['kl']:.2f}"
        else:
            terms = f" ({', '.join(f'{name} {value:.2f}' for name, value in parts.items())})" if parts else ""
        return (
            f"epoch {self.epoch:>3}/{self.epochs}  train {loss:.2f}{terms}  valid {row['valid_loss']:.2f}  "
            f"{seconds:.1f} s, {1000 * seconds / self.steps_per_epoch:.1f} ms per step"
        )

    def draw_pictures(self):
        draw_loss_curve(self.history, self.run.loss_curve, self.landmark)
        if self.draw is not None:
            self.model.eval()
            self.draw(self.model, self.run.sample_path(self.epoch))


def import_summary_writer():
    """Return TensorBoard's SummaryWriter; raises LabError if the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LabError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter


def weighted_means(terms, sizes):
    """Return the mean of each term over the pictures, from means over batches of the given sizes."""
    check_same_parts(terms)
    weights = torch.tensor(sizes, dtype=torch.float64)
    return {
        name: (torch.stack([row[name] for row in terms]).cpu().double() @ weights / weights.sum()).item()
        for name in terms[0]
    }


def check_same_parts(rows):
    """Raise LabError unless all losses (dicts) have the same parts, as the rows of a history have the same columns."""
    for row in rows:
        if row.keys() != rows[0].keys():
            raise LabError(f"a loss must have the same parts for every batch, got {[*rows[0]]} and then {[*row]}.")
