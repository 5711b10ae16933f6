"""The loss that is minimised: the submission's vae_loss, or the model's own loss."""

import inspect

import torch

from lab.contract import SubmissionError, blame, describe, get_function, run_forward
from lab.tasks import TASKS


def make_loss(module, task, var):
    """Return loss(model, (x, labels)) → {"loss": scalar to minimise, any other name: scalar to log}, means over the
    batch.

    If the model has no loss of its own it is vae_loss, with its parts "recon_loss" and "kl": kl is KL(N(mu, sigma²) ||
    N(0, I)), and recon_loss = loss - kl. A model's own `loss(x, labels, var)` returns a scalar, or such a dict, which
    must have the same names in every batch; recon_loss and kl are then unknown and left out.
    """
    conditional = TASKS[task].conditional
    first_names = []

    def loss(model, batch):
        x, labels = batch
        labels = labels if conditional else None
        if has_own_loss(model):
            terms = run_own_loss(model, module, x, labels, var)
            first_names[:] = first_names or terms
            if [*terms] != first_names:
                raise SubmissionError(
                    f"{type(model).__name__}.loss must return the same names in every batch, in training and in eval "
                    f"mode: expected {', '.join(first_names)}, got {', '.join(terms)}.",
                    "bad_values",
                )
            return terms
        recon, mu, log_var = run_forward(model, module, x, labels)
        with blame("vae_loss", module):
            value = get_function(module, "vae_loss")(recon, x, mu, log_var, var=var)
        value = as_scalar(value, "vae_loss")
        with torch.no_grad():
            kl = (mu.square() + log_var.expm1() - log_var).sum(dim=1).mean() / 2
        return {"loss": value, "recon_loss": value.detach() - kl, "kl": kl}

    return loss


def has_own_loss(model):
    """Return whether a model has its own loss, which is then minimised in place of vae_loss."""
    return callable(getattr(model, "loss", None))


def run_own_loss(model, module, x, labels, var):
    """Return the result of the model's own loss(x, labels, var) as {"loss": scalar, any other name: scalar to log}.

    Raises SubmissionError unless it takes these arguments and returns a scalar tensor, or a dict of numbers and scalar
    tensors with a "loss".
    """
    name = f"{type(model).__name__}.loss"
    try:
        signature = inspect.signature(getattr(model.loss, "forward", model.loss))
        signature.bind(x, labels, var)
    except TypeError as error:
        got = (
            f"yours is a {type(model.loss).__name__} that was assigned to self.loss: give it a different name"
            if isinstance(model.loss, torch.nn.Module)
            else f"yours is loss{signature}".replace("loss(", "loss(self, ")
        )
        raise SubmissionError(
            f"{name} is minimised in place of vae_loss and is called as loss(x, labels, var): expected "
            f"def loss(self, x, labels, var), but {got}.",
            "bad_shape",
        ) from error
    with blame(name, module):
        value = model.loss(x, labels, var)
    if not isinstance(value, dict):
        return {"loss": as_scalar(value, name)}
    if "loss" not in value or not all(isinstance(key, str) for key in value):
        raise SubmissionError(
            f'{name} returned a dict: expected {{"loss": what is minimised, any other name: a number to log}}, got the '
            f"names {', '.join(map(repr, value)) or '(none)'}.",
            "bad_shape",
        )
    terms = {}
    for key, term in value.items():
        is_number = isinstance(term, int | float) and key != "loss"  # the loss needs a gradient
        term = torch.tensor(float(term), device=x.device) if is_number else term
        terms[key] = as_scalar(term, f'{name}: "{key}" of the dict it returns')
    return terms


@torch.no_grad()
def prior_loss(module, recon, x, latent_dim, var):
    """Return the submission's vae_loss, a float, for recon and x, both [B, 28, 28], if q(z|x) is N(0, I)."""
    with blame("vae_loss", module):
        value = get_function(module, "vae_loss")(recon, x, *x.new_zeros(2, len(x), latent_dim), var=var)
    return as_scalar(value, "vae_loss").item()


def mean_picture_loss(module, images, latent_dim, var, batch_size=1000):
    """Return the vae_loss of a decoder that always outputs the mean of pictures uint8 [N, 28, 28], a tensor, with a KL
    of 0: a model that learns nothing reaches this."""
    mean, total = images.float().mean(dim=0) / 255, 0.0
    for start in range(0, len(images), batch_size):
        x = images[start : start + batch_size].float().div_(255)
        total += prior_loss(module, mean.expand_as(x).clone(), x, latent_dim, var) * len(x)
    return total / len(images)


def note_if_useless(x, recon, images):
    """Print a note if reconstructions of x, both [B, 28, 28], are no better than always the mean of the training
    pictures uint8 [N, 28, 28]."""
    own = (recon - x).square().sum(dim=(1, 2)).mean().item()
    mean_picture = images.float().div(255).var(dim=0, correction=0).sum().item()
    if not own < 0.95 * mean_picture:
        print(
            f"note: reconstructions are no better than always the mean picture (squared error {own:.1f}; mean picture "
            f"{mean_picture:.1f}): train longer, or compare the loss curves in the handout's section 2.4 (--lr too "
            "high? --var too large?)"
        )


def as_scalar(value, what):
    """Return a loss as a tensor without dimensions; raises SubmissionError if it is not a scalar."""
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        what, verb = (what, "must be") if '"' in what else (what, "must return")
        raise SubmissionError(
            f"{what} {verb} one number, the mean over the batch, as a scalar tensor, got {describe(value)}.",
            "bad_shape",
        )
    return value.reshape(())
