"""Section 2.2.4: what forward returns, where its picture comes from, and that it trains."""

import numpy as np
import torch

from checks.evidence import WrongError, differ, sigmoid
from checks.inputs import BATCH
from checks.model.encoder import explain_shape, refuse_random_mu
from checks.model.evidence import batch_message

STEPS = 10  # training steps before anything is measured: layers that start at zero wake up

SAMPLES_IN_EVAL = (
    "in eval mode the code is drawn at random, so reconstructions are scored on a random draw: return mu in eval mode "
    "to score better (in reparameterize: if not self.training: return mu)."
)


def probe_training(probe):
    """A few steps of training on the closed form, whatever vae_loss is."""

    def loss():
        recon, mu, log_var = probe.run_forward(range(32))
        kl = (mu**2 + log_var.exp() - 1 - log_var).sum() / 2
        return (((recon - probe.pictures(range(32))) ** 2).sum() + kl) / 32, False

    probe.train(loss, 1e-3, STEPS)
    if not all(parameter.isfinite().all() for parameter in probe.model.parameters()):
        probe.model = probe.build(probe.latent_dim)  # the other checks say why


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
    """forward returns recon, mu, log_var, and makes recon by one call of decode on a code of the right width. Returns a
    note where the code is sampled in eval mode too."""
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
    """forward failed: say so if what it returned has the wrong order or number."""
    explain_shape(evidence)
    text = evidence.text("eval.error")
    if "must return" in text and "got NoneType" in text and "forward" in text:
        raise WrongError(f"{text} Likely cause: the return of forward is missing.")
    if "forward must return" in text and evidence.has("decoded"):
        raise WrongError(f"{text} Likely cause: another order or number of values than return recon, mu, log_var.")
    nothing = evidence.text("eval.nothing")
    if nothing == "reparameterize":
        raise WrongError(
            f"{evidence.name}.reparameterize should return z, it returns None. Likely cause: its return is missing."
        )
    failed_in_decode = evidence.has("decoded") and evidence.text("eval.where") == "decode"
    if evidence.has_labels and failed_in_decode and not evidence.number("eval.labels_given"):
        refuse_missing_labels(f" ({evidence.error('eval')})")


def refuse_missing_labels(error=""):
    raise WrongError(
        f"forward should hand the labels to decode{error}. Likely cause: self.decode(z) in place of "
        "self.decode(z, labels)."
    )


def check_call_of_decode(evidence, recon):
    calls = evidence.array("eval.calls", ())
    if calls != 1:
        x = evidence.inputs["x"]
        cause = "it goes to the decoder's layers, or to the picture, past decode"
        cause = "forward returns x itself as recon" if np.array_equal(recon, x) else cause
        raise WrongError(
            f"forward should make its picture by one call of self.decode(z, labels), it called it {calls:.0f} times. "
            f"Likely cause: {'forward calls decode more than once' if calls > 1 else cause}."
        )
    if not evidence.has("eval.z"):
        raise WrongError("forward should hand decode a tensor z [B, latent_dim] as its first argument, it does not.")
    evidence.refuse_width()
    if evidence.has_labels and not evidence.number("eval.labels_given"):
        if evidence.remembered or evidence.failed("reloaded_decode"):
            raise WrongError(memory_message("the label"))
        refuse_missing_labels()


def check_order(evidence):
    """In eval mode z is mu, which tells whether mu and log_var stand in the right order."""
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
            "the code z of a digit 0 should hold something of its picture, it is 0 in every number. Likely cause: z is "
            "multiplied by the label, which is 0 for this digit; join one_hot(labels, 10) to z inside decode."
        )


def memory_message(what):
    others = "other labels" if what == "the label" else "other pictures"
    return (
        "decode should use nothing but z, the labels it is given and the weights; after forward has run on "
        f"{others} it draws another picture for the same z. Likely cause: forward keeps {what} on self (or "
        "elsewhere) and decode uses it."
    )


def refuse_memory(evidence):
    what = evidence.remembered
    if what:
        raise WrongError(memory_message(what))


def check_recon_is_of_code(evidence):
    """A model that has seen no picture decodes the code to the same recon."""
    recon = evidence.array("reloaded_from.recon", (20, 28, 28), finite=False)
    own = "forward keeps something of the picture on self (or elsewhere) and decode uses it"
    if not evidence.has("reloaded_decode"):
        if evidence.has("decoded") or evidence.failed("decoded"):
            raise WrongError(
                "decode should need nothing but z and the weights; on a model that has seen no picture it fails "
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
        cause = "forward brings decode's picture to another range"
    elif differ(recon, evidence.array("reloaded.recon", (20, 28, 28), finite=False)) and not evidence.code_is_random:
        return  # weights that are missing from the state_dict: check_weights says so
    else:
        cause = own
    raise WrongError(
        "forward's recon should be what decode makes of the code z alone, it is another picture (off by "
        f"{np.abs(recon - alone).max():.2g}). Likely cause: {cause}."
    )


def refuse_bad_code(evidence, step):
    """Raise WrongError if decode gets NaN though mu and log_var are numbers."""
    if not all(evidence.has(f"{step}.{name}") for name in ("z", "mu", "log_var")):
        return
    z, mu, log_var = (evidence.arrays[f"{evidence.prefix}.{step}.{name}"] for name in ("z", "mu", "log_var"))
    if np.isfinite(mu).all() and np.isfinite(log_var).all() and not np.isfinite(z).all():
        raise WrongError(
            "z should be mu + exp(log_var / 2) * eps, it holds NaN or infinity though mu and log_var do not. Likely "
            "cause: log_var used as variance, and the root of a negative number taken."
        )


def check_batches(evidence):
    """Neither the code nor the picture depends on the rest of the batch, as far as the code is not random."""
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
    """Tell whether the two codes that the same pictures got in eval mode differ by more than rounding."""
    first, second = (evidence.array(name, (BATCH, None), finite=False) for name in ("drawn_z", "drawn_z_again"))
    dropped = np.mean((first == 0) != (second == 0)) > 0.02
    if dropped:
        raise WrongError(
            "in eval mode the same pictures should give the same code twice, but numbers of z are set to 0 at random. "
            "Likely cause: F.dropout without training=self.training."
        )
    return first.shape != second.shape or differ(first, second)
