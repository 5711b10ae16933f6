"""The judge of forward: what it returns, where its picture comes from, how it trains, and a loss of the model's own.

Each function takes the ModelJudge and raises WrongError with a message that names the mistake.
"""

import numpy as np

from checks.evidence import WrongError, batch_message, differ, sigmoid
from checks.judge_training import judge_draws, judge_gradients
from checks.probes import BATCH, REPEATS, TWINS


def check_forward(judge):
    """forward returns recon, mu, log_var, and makes recon by one call of decode on a code of the right width."""
    if not judge.evidence.has("eval.recon"):
        judge.explain_shape()
        explain_return(judge)
    recon = judge.evidence.array("eval.recon", (BATCH, 28, 28))
    mu, log_var = (judge.evidence.array(f"eval.{name}", (BATCH, judge.latent_dim)) for name in ("mu", "log_var"))
    calls = judge.evidence.array("eval.calls", ())
    if calls != 1:
        raise WrongError(
            f"forward should make its picture by one call of self.decode(z, labels), it called it {calls:.0f} times. "
            "Likely cause: it goes to the decoder's layers, or to the picture, past decode."
        )
    if not judge.evidence.has("eval.z"):
        raise WrongError("forward should hand decode a tensor z [B, latent_dim] as its first argument, it does not.")
    z = judge.evidence.array("eval.z", (BATCH, None))
    if z.shape[1] != judge.latent_dim:
        raise WrongError(
            f"forward should hand decode codes of width latent_dim = {judge.latent_dim}, got width {z.shape[1]}. "
            "Likely cause: labels or parts of the picture are joined to z before decode; do that inside decode."
        )
    again = judge.evidence.array("again.z", z.shape)
    if differ(z, again):
        raise WrongError(
            "in eval mode the same pictures should give the same code twice, they give another: random output. "
            "Likely cause: z is sampled in eval mode too; reparameterize returns mu itself unless self.training."
        )
    if differ(z, mu) and not differ(z, log_var):
        raise WrongError(
            "forward should return recon, mu, log_var in this order; in eval mode z equals the third, not the "
            "second. Likely cause: mu and log_var are exchanged in forward or encode."
        )
    if judge.is_random("recon"):
        raise WrongError(
            "in eval mode the same pictures should give the same recon twice: random output. Likely cause: noise or "
            "F.dropout without training=self.training."
        )
    recon_comes_from_code(judge)
    part, single = (
        judge.evidence.array("part.recon", (len(judge.rows), 28, 28)),
        judge.evidence.array("single.recon", (1, 28, 28)),
    )
    if differ(recon[judge.rows], part) or differ(recon[:1], single):
        raise WrongError(batch_message("a picture's recon"))


def explain_return(judge):
    """forward failed: say so if what it returned has the wrong order or number."""
    text = judge.evidence.text("eval.error")
    if "must return" in text and judge.evidence.has("decoded"):
        raise WrongError(f"{text} Likely cause: another order or number of values than return recon, mu, log_var.")


def recon_comes_from_code(judge):
    """A model that has seen no picture decodes the code to the same recon."""
    recon = judge.evidence.array("reloaded_from.recon", (20, 28, 28))
    own = "forward keeps something of the picture on self (or elsewhere) and decode uses it"
    if not judge.evidence.has("reloaded_decode"):
        if judge.evidence.has("decoded") or judge.evidence.failed("decoded"):
            raise WrongError(
                "decode should need nothing but z and the weights; on a model that has seen no picture it fails "
                f"({judge.evidence.text('reloaded_decode.error')}). Likely cause: {own}."
            )
        judge.evidence.raise_for("decoded")
    alone = judge.evidence.array("reloaded_decode", (20, 28, 28))
    if not differ(recon, alone):
        return
    if not differ(recon, alone.transpose(0, 2, 1)):
        cause = "the picture is transposed after decode: rows and columns are exchanged"
    elif not differ(recon, sigmoid(alone)):
        cause = "sigmoid is applied twice: in decode and again in forward"
    elif abs(np.corrcoef(recon.ravel(), alone.ravel())[0, 1]) > 0.9999:
        cause = "forward brings decode's picture to another range"
    elif differ(recon, judge.evidence.array("reloaded.recon", (20, 28, 28))):
        return  # weights that are missing from the state_dict: weights_complete says so
    else:
        cause = own
    raise WrongError(
        "forward's recon should be what decode makes of the code z alone, it is another picture (off by "
        f"{np.abs(recon - alone).max():.2g}). Likely cause: {cause}."
    )


def check_training(judge):
    judge.evidence.raise_for("train")


def check_gradients(judge):
    judge_gradients(judge.evidence, has_own_loss(judge))


def check_sampling(judge):
    shape = (REPEATS, 2 * TWINS, judge.latent_dim)
    z, mu, log_var = (
        judge.evidence.array(f"draws_{name}", shape, "draw", finite=False) for name in ("z", "mu", "log_var")
    )
    in_eval = [judge.evidence.array(f"eval.{name}", (BATCH, judge.latent_dim)) for name in ("z", "mu")]
    judge_draws(z, mu, log_var, is_plain=not differ(*in_eval), needed=not has_own_loss(judge))


def has_own_loss(judge):
    return judge.evidence.has("own_loss_once")


def check_own_loss(judge):
    """A loss of the model's own, if it has one, is a scalar mean over the batch."""
    if not (has_own_loss(judge) or judge.evidence.has("own_loss_defined")):
        return
    judge.evidence.raise_for("own_loss")
    returned = judge.evidence.text("own_loss_returned_once")
    value = judge.evidence.arrays.get(f"{judge.name}.own_loss_once")
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise WrongError(f"{judge.name}.loss should return one number, the mean over the batch, got {returned}.")
    once, twice = (judge.evidence.array(f"own_loss_{name}", value.shape) for name in ("once", "twice"))
    if abs(float(once.sum())) > 1e-3 and 1.9 < float(twice.sum()) / float(once.sum()) < 2.1:
        raise WrongError(
            f"{judge.name}.loss should be a mean over the batch; a batch given twice doubles it. Likely cause: a sum "
            "over the batch without / len(x)."
        )


FORWARD_CHECKS = (check_forward, check_training, check_sampling, check_gradients, check_own_loss)
