"""Section 2.2.4: what forward returns, where its picture comes from, and whether it can be trained."""

import numpy as np
import torch

from checks.evidence import WrongError, differ, sigmoid
from checks.inputs import BATCH
from checks.model.encoder import explain_shape, refuse_random_mu
from checks.model.evidence import batch_message

STEPS = 10  # training steps before anything is measured, so that layers initialised to zero have an effect

SAMPLES_IN_EVAL = (
    "in eval mode the code is drawn at random, so reconstructions are scored on a random draw: return mu in eval mode "
    "to score better (in reparameterize: if not self.training: return mu)."
)


def probe_training(probe):
    """Train for a few steps with the closed form of the loss, whatever vae_loss is."""

    def loss():
        recon, mu, log_var = probe.run_forward(range(32))
        kl = (mu**2 + log_var.exp() - 1 - log_var).sum() / 2
        return (((recon - probe.pictures(range(32))) ** 2).sum() + kl) / 32, False

    probe.train(loss, 1e-3, STEPS)
    if not all(parameter.isfinite().all() for parameter in probe.model.parameters()):
        probe.model = probe.build(probe.latent_dim)  # the other checks report why


@torch.no_grad()
def probe_memory(probe):
    """Decode the same codes after forward has seen other pictures, or other labels, in batches of the same size."""
    rows, others = list(range(12)), list(range(30, 42))
    for name, pictures, labels in (("first", rows, rows), ("pictures", others, rows), ("labels", rows, others)):
        probe.forward(f"saw_{name}", probe.pictures(pictures), probe.labels(labels))
        probe.decode(f"after_{name}", probe.codes(rows), probe.labels(list(range(50, 62))))


def check_training(evidence):
    evidence.raise_for("train")


def check_forward(evidence):
    """Check that forward returns recon, mu, log_var, and makes recon with one call of decode on a code of the right
    width. Returns a note if the code is sampled in eval mode too."""
    if not evidence.has("eval.recon"):
        explain_failure(evidence)
    evidence.refuse_layers("forward", "reparameterize", "loss")
    refuse_bad_code(evidence, "eval")
    recon = evidence.array("eval.recon", (BATCH, 28, 28))
    for name in ("mu", "log_var"):
        evidence.array(f"eval.{name}", (BATCH, evidence.latent_dim))
    refuse_random_mu(evidence)
    check_call_of_decode(evidence, recon)
    check_order(evidence)
    check_labels_used_in_code(evidence)
    sampled = evidence.has("drawn_z") and not evidence.is_random("mu")
    if not sampled and evidence.is_random("recon"):
        cause = evidence.cause_of_randomness("eval", "noise")
        raise WrongError(
            f"in eval mode the same pictures should give the same recon twice: random output. Likely cause: {cause}."
        )
    refuse_memory(evidence)
    check_recon_is_of_code(evidence)
    return SAMPLES_IN_EVAL if sampled and is_drawn(evidence) else None


def explain_failure(evidence):
    """Report why forward failed: a wrong order or number of values, a missing return, missing labels."""
    explain_shape(evidence)
    text = evidence.text("eval.error")
    if "must return" in text and "got NoneType" in text and "forward" in text:
        raise WrongError(f"{text} Likely cause: the return of forward is missing.")
    if "forward must return" in text and evidence.has("decoded"):
        raise WrongError(f"{text} Likely cause: the order or number of values is not return recon, mu, log_var.")
    nothing = evidence.text("eval.nothing")
    if nothing == "reparameterize":
        raise WrongError(
            f"{evidence.name}.reparameterize should return z, but returns None. Likely cause: its return is missing."
        )
    failed_in_decode = evidence.has("decoded") and evidence.text("eval.where") == "decode"
    if evidence.has_labels and failed_in_decode and not evidence.number("eval.labels_given"):
        refuse_missing_labels(f" ({evidence.error('eval')})")


def refuse_missing_labels(error=""):
    raise WrongError(
        f"forward should pass the labels to decode{error}. Likely cause: self.decode(z) in place of "
        "self.decode(z, labels)."
    )


def check_call_of_decode(evidence, recon):
    calls = evidence.array("eval.calls", ())
    if calls != 1:
        x = evidence.inputs["x"]
        cause = "it uses the decoder's layers, or the picture, without calling decode"
        cause = "forward returns x itself as recon" if np.array_equal(recon, x) else cause
        raise WrongError(
            f"forward should make its picture with one call of self.decode(z, labels), but made {calls:.0f} calls. "
            f"Likely cause: {'forward calls decode more than once' if calls > 1 else cause}."
        )
    if not evidence.has("eval.z"):
        raise WrongError("forward should pass a tensor z [B, latent_dim] to decode as its first argument.")
    evidence.refuse_width()
    if evidence.has_labels and not evidence.number("eval.labels_given"):
        if evidence.remembered or evidence.failed("reloaded_decode"):
            raise WrongError(memory_message("the label"))
        refuse_missing_labels()


def check_order(evidence):
    """In eval mode z is mu, which shows whether mu and log_var are in the right order."""
    z, mu, log_var = (evidence.array(f"eval.{name}", (BATCH, evidence.latent_dim)) for name in ("z", "mu", "log_var"))
    if differ(z, mu) and not differ(z, log_var):
        raise WrongError(
            "forward should return recon, mu, log_var in this order; in eval mode z equals the third, not the "
            "second. Likely cause: mu and log_var are exchanged in forward, encode or the call of reparameterize."
        )


def check_labels_used_in_code(evidence):
    """A code that is 0 for every picture of digit 0 was multiplied by its label."""
    zeros = evidence.inputs["labels"] == 0
    z, mu = (evidence.array(f"eval.{name}", (BATCH, evidence.latent_dim)) for name in ("z", "mu"))
    if evidence.has_labels and not z[zeros].any() and mu[zeros].any() and z[~zeros].any():
        raise WrongError(
            "the code z of a digit 0 should depend on its picture, but all its numbers are 0. Likely cause: z is "
            "multiplied by the label, which is 0 for this digit; join one_hot(labels, 10) to z inside decode."
        )


def memory_message(what):
    others = "other labels" if what == "the label" else "other pictures"
    return (
        "decode should use only z, its labels and the weights, but after forward has run on "
        f"{others} it draws a different picture for the same z. Likely cause: forward keeps {what} on self (or "
        "elsewhere) and decode uses it."
    )


def refuse_memory(evidence):
    what = evidence.remembered
    if what:
        raise WrongError(memory_message(what))


def check_recon_is_of_code(evidence):
    """Check that a model that has seen no picture decodes the code to the same recon."""
    recon = evidence.array("reloaded_from.recon", (20, 28, 28), finite=False)
    own = "forward keeps something of the picture on self (or elsewhere) and decode uses it"
    if not evidence.has("reloaded_decode"):
        if evidence.has("decoded") or evidence.failed("decoded"):
            raise WrongError(
                "decode should need only z and the weights, but on a model that has seen no picture it fails "
                f"({evidence.error('reloaded_decode')}). Likely cause: {own}."
            )
        evidence.raise_for("decoded")
    alone = evidence.array("reloaded_decode", (20, 28, 28), finite=False)
    if not differ(recon, alone):
        return
    if not differ(recon, alone.transpose(0, 2, 1)):
        cause = "the picture is transposed after decode: rows and columns are exchanged"
    elif not differ(recon, sigmoid(alone)):
        cause = "sigmoid is applied twice: in decode and again in forward"
    elif abs(np.corrcoef(recon.ravel(), alone.ravel())[0, 1]) > 0.9999:
        cause = "forward changes the range of decode's picture"
    elif differ(recon, evidence.array("reloaded.recon", (20, 28, 28), finite=False)) and not evidence.code_is_random:
        return  # weights are missing from the state_dict: check_weights reports it
    else:
        cause = own
    raise WrongError(
        "forward's recon should be what decode makes of the code z alone, but it is a different picture (off by "
        f"{np.abs(recon - alone).max():.2g}). Likely cause: {cause}."
    )


def refuse_bad_code(evidence, step):
    """Raise WrongError if decode gets NaN though mu and log_var are numbers."""
    if not all(evidence.has(f"{step}.{name}") for name in ("z", "mu", "log_var")):
        return
    z, mu, log_var = (evidence.arrays[f"{evidence.prefix}.{step}.{name}"] for name in ("z", "mu", "log_var"))
    if np.isfinite(mu).all() and np.isfinite(log_var).all() and not np.isfinite(z).all():
        raise WrongError(
            "z should be mu + exp(log_var / 2) * eps, but contains NaN, though mu and log_var do not. Likely "
            "cause: log_var used as variance, and the root of a negative number taken."
        )


def check_batches(evidence):
    """Check that neither the code nor the picture depends on the rest of the batch, unless the code is random."""
    if evidence.code_is_random:
        return
    z = evidence.array("eval.z", (BATCH, evidence.latent_dim))
    recon = evidence.array("eval.recon", (BATCH, 28, 28))
    for step, rows in (("part", evidence.rows), ("single", [0])):
        if differ(z[rows], evidence.array(f"{step}.z", (len(rows), evidence.latent_dim), finite=False)):
            raise WrongError(batch_message("the code z of a picture"))
        if differ(recon[rows], evidence.array(f"{step}.recon", (len(rows), 28, 28), finite=False)):
            raise WrongError(batch_message("a picture's recon"))


def is_drawn(evidence):
    """Return whether the two codes of the same pictures in eval mode differ by more than rounding."""
    first, second = (evidence.array(name, (BATCH, None), finite=False) for name in ("drawn_z", "drawn_z_again"))
    dropped = np.mean((first == 0) != (second == 0)) > 0.02
    if dropped:
        raise WrongError(
            "in eval mode the same pictures should give the same code twice, but numbers of z are set to 0 at random. "
            "Likely cause: F.dropout without training=self.training."
        )
    return first.shape != second.shape or differ(first, second)
