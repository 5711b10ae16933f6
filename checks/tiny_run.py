"""The tiny run of check.py --tiny: train the VAE on 500 pictures for 3 epochs, compare its losses with known ones."""

import contextlib
import io
import tempfile

import numpy as np
import torch

from checks.result import GOOD
from checks.sections import check_submission
from data_utils import MNISTDataset, load_split, set_random_seed
from lab.cli import ROOT, LabError
from lab.contract import SubmissionError, build_model, run_forward
from lab.losses import make_loss
from lab.tasks import TASKS
from trainer import Trainer

TASK, *_ = TASKS  # the first one, whose loss is vae_loss
PICTURES, EPOCHS, BATCH_SIZE, LR = 500, 3, 20, 2e-3
VAR = 0.1  # not the usual 0.5: there 2 var is 1, and a loss that ignores var looks right
SAME = 0.002  # relative: float32 sums of the same numbers are far closer

# latent_dim → lowest and highest losses of correct submissions: the MLPs, convolutional, recurrent and attention models
# in tests/correct are well inside.
BANDS = {
    2: {"loss": (180, 560), "recon_loss": (170, 540), "kl": (0, 25)},
    100: {"loss": (180, 500), "recon_loss": (150, 480), "kl": (0, 110)},
}
MEANINGS = {
    "loss": "your loss",
    "recon_loss": "||x - recon||² / (2 var), by the formula",
    "kl": "KL(q(z|x) || N(0, I)), by the formula",
}


def report_tiny(module):
    """Train with each latent_dim, print the losses beside their bands, and a verdict; return whether it is good."""
    print(f"{PICTURES} pictures, {EPOCHS} epochs, var {VAR}; then on {PICTURES} validation pictures, means:\n")
    print(f"{'yours':>61}   band")
    outside, other_terms = [], False
    for latent_dim, bands in BANDS.items():
        print(f"latent_dim {latent_dim}")
        try:
            losses = train_tiny(module, latent_dim)
        except SubmissionError:
            raise
        except LabError as error:
            print(f"  OUTSIDE: {error}")
            outside.append(f"the training with latent_dim {latent_dim}")
            continue
        other_term = not has_same_loss(losses) and check_submission(module, ["2.3"])[0].status in GOOD
        outside += [f"{name} with latent_dim {latent_dim}" for name in compare(losses, bands, other_term)]
        other_terms = other_terms or other_term
    print(f"\n{describe_verdict(outside, other_terms)}")
    return not outside


def compare(losses, bands, other_term):
    """Print each loss beside its band; return the names of those outside.

    other_term: the loss does not have the handout's reconstruction term, or is the model's own.
    """
    outside = []
    for name, (low, high) in bands.items():
        remark = f"   {low:g} to {high:g}"
        if name == "loss" and other_term:
            remark = "   not compared: a different reconstruction term, or the model's own loss"
        elif name == "kl" and other_term:
            remark = "   not compared: it depends on the reconstruction term"
        elif not low <= losses[name] <= high:
            remark += "   OUTSIDE"
            outside.append(name)
        print(f"  {name:<12}{MEANINGS[name]:<41}{losses[name]:>6.1f}{remark}")
    if not has_same_loss(losses) and not other_term:
        print(f"  loss should be recon_loss + kl = {losses['recon_loss'] + losses['kl']:.4g}: OUTSIDE")
        outside.append("loss, which is not recon_loss + kl,")
    return outside


def describe_verdict(outside, other_terms):
    """Return the verdict on the whole run in one line."""
    if outside:
        return f"tiny run: not good. Outside: {'; '.join(outside)}. python check.py -k 2 shows what is wrong."
    if other_terms:
        return "tiny run: good. All losses that can be compared are inside their bands."
    return "tiny run: good. All losses are inside their bands, and your loss is recon_loss + kl."


def has_same_loss(losses):
    total = losses["recon_loss"] + losses["kl"]
    return abs(losses["loss"] - total) <= SAME * total


def train_tiny(module, latent_dim):
    """Train the VAE and return {"loss": by the submission, "recon_loss", "kl": by the closed form}: means over
    the first pictures of the validation split, in eval mode."""
    set_random_seed(0)
    train_set, valid_set = (
        MNISTDataset(*(array[:PICTURES] for array in load_split(ROOT / "dataset" / f"{split}.npz")))
        for split in ("train", "valid")
    )
    model = build_model(module, TASK, latent_dim)
    loss = make_loss(module, TASK, VAR)
    with tempfile.TemporaryDirectory() as folder, silence():
        trainer = Trainer(
            model, loss, train_set, valid_set, epochs=EPOCHS, batch_size=BATCH_SIZE, lr=LR, pred_step=10**9
        )
        trainer.train(folder)
    x, labels = valid_set.__getitems__(range(PICTURES))
    model.eval()
    with torch.no_grad():
        set_random_seed(1)  # the same draws for both, should the model sample in eval mode too
        value = loss(model, (x, labels))["loss"].item()
        set_random_seed(1)
        recon, mu, log_var = (tensor.double().numpy() for tensor in run_forward(model, module, x, None))
    recon_loss = ((recon - x.numpy()) ** 2).sum() / (2 * VAR) / PICTURES
    kl = (np.exp(log_var) + mu**2 - 1 - log_var).sum() / 2 / PICTURES
    return {"loss": value, "recon_loss": float(recon_loss), "kl": float(kl)}


@contextlib.contextmanager
def silence():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
