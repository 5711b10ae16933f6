"""Section 2.2.4: how z is drawn in training. If forward calls encode, it receives a mu and a log_var that were chosen
to reveal how they are used; otherwise the model's own are pulled apart first."""

import contextlib

import numpy as np
import torch

from checks.evidence import WrongError, differ
from checks.inputs import BATCH

REPEATS = 2  # forwards on the same input, to measure how z is drawn
PULL_STEPS = 20  # training steps in which mu and log_var are pulled towards both signs
FAR = 1.5  # ... until they reach this absolute value
PARTS = ("mu", "log_var", "sample", "z")


def probe_sampling(probe):
    """Draw codes in training mode from a chosen mu and log_var. Then pull the model's own apart, and draw codes from
    them if forward does not use the chosen ones."""
    mu, log_var = (torch.tensor(probe.inputs[name][:, : probe.latent_dim]) for name in ("mu", "log_var"))

    def choose(*own):
        """Return the chosen pair if encode returned tensors of the same shape."""
        return (mu.clone(), log_var.clone()) if all(value.shape == mu.shape for value in own) else own

    probe.calm = False
    with torch.no_grad():
        record_draws(probe, "chosen", choose)
        probe.model.eval()
        probe.forward("chosen_eval", probe.pictures(), probe.labels(), replace=choose)
        probe.model.train()
    pull_apart(probe)
    with torch.no_grad():
        taken = (probe.out.arrays.get(f"{probe.out.prefix}.chosen.{name}") for name in ("mu", "log_var"))
        if not all(np.array_equal(one, chosen) for one, chosen in zip(taken, (mu, log_var), strict=True)):
            record_draws(probe, "own")
        probe.model.eval()
        probe.forward("pulled", probe.pictures(range(32)), probe.labels(range(32)))


def record_draws(probe, step, replace=None):
    """Run forward several times on the same pictures and record mu, log_var, sample and z as [REPEATS, B, d]."""
    for layer in probe.model.modules():
        if type(layer).__module__.startswith("torch.nn."):
            layer.eval()  # no dropout: only the sampling is random
    draws = [probe.forward(step, probe.pictures(), probe.labels(), replace=replace) for _ in range(REPEATS)]
    probe.model.train()
    for name in PARTS:
        values = [draw.get(name) for draw in draws]
        if all(value is not None and value.shape == values[0].shape for value in values):
            probe.out.put(**{f"{step}.draws_{name}": torch.stack(values)})


def pull_apart(probe):
    """Train mu and log_var towards alternating 2 and -2; if one cannot reach them, its last layer has an activation."""

    def loss():
        _, mu, log_var = probe.run_forward(range(32))
        wanted = torch.tensor([2.0, -2.0]).repeat(log_var.shape[1])[: log_var.shape[1]]
        done = all(value.min() < -FAR and value.max() > FAR for value in (mu, log_var))
        return ((log_var - wanted) ** 2).sum() + ((mu + wanted) ** 2).sum(), done

    with contextlib.suppress(RuntimeError):  # without a gradient nothing changes
        probe.train(loss, 0.02, PULL_STEPS)


def check_sampling(evidence):
    """Check that forward returns the mu and log_var from which z is drawn, and z is mu + exp(log_var / 2) * eps."""
    for step in ("chosen", "sampling"):
        evidence.raise_for(step)
    if not evidence.number("chosen.training"):
        raise WrongError(
            "in training mode z should be drawn anew in each call, but the model leaves training mode. Likely "
            "cause: self.eval() or self.train(False) is called in forward or encode."
        )
    shape = (REPEATS, BATCH, evidence.latent_dim)
    chosen = read_chosen(evidence, shape)
    drawn = chosen or {name: read_draws(evidence, "own", name, shape) for name in PARTS}
    mu, log_var, sample, z = (drawn[name] for name in PARTS)
    usable = np.isfinite(mu).all() and np.isfinite(log_var).all()
    if usable and not np.isfinite(sample).all():
        raise WrongError(
            "z should be mu + exp(log_var / 2) * eps, but contains NaN, though mu and log_var do not. Likely "
            "cause: log_var used as variance, and the root of a negative number taken."
        )
    if not usable:
        return
    is_plain = is_drawn_around_mu(evidence, mu, sample, chosen is not None)
    if is_still(z, mu, is_plain):
        refuse_still(evidence, z, mu, log_var, sample)
    refuse_other_mean(mu, log_var, sample)
    if is_plain and np.mean(sample == 0) < 0.01 and not has_own_noise(evidence):  # 0: dropout
        check_noise(sample, mu, log_var)


def read_draws(evidence, step, name, shape):
    return evidence.array(f"{step}.draws_{name}", shape, step, finite=False)


def read_chosen(evidence, shape):
    """Return the draws around the chosen mu and log_var, None if forward does not take them from encode.

    Raises WrongError if forward returns something else instead.
    """
    if not all(evidence.has(f"chosen.draws_{name}") for name in PARTS) or not evidence.has("chosen_eval.sample"):
        return None
    drawn = {name: read_draws(evidence, "chosen", name, shape) for name in PARTS}
    mu, log_var = (evidence.inputs[name][:, : shape[2]].astype(np.float64)[None] for name in ("mu", "log_var"))
    second, third, sample = drawn["mu"], drawn["log_var"], drawn["sample"]

    def same(values, expected):
        return np.isfinite(values).all() and not differ(values, expected)

    is_random = not np.array_equal(sample[0], sample[1])
    if is_random and same(second, sample):
        raise WrongError(
            "forward should return recon, mu, log_var; its second value is the sample z. Likely cause: return recon, "
            "z, ... in place of return recon, mu, log_var; or mu is changed in place, as by mu += ... ."
        )
    if is_random and same(third, sample):
        raise WrongError(
            "forward should return recon, mu, log_var; its third value is the sample z. Likely cause: return recon, "
            "mu, z in place of return recon, mu, log_var."
        )
    if same(second, mu):
        for function, values in (
            ("sigma, exp(log_var / 2)", np.exp(log_var / 2)),
            ("the variance, exp(log_var)", np.exp(log_var)),
            ("mu once more", mu),
        ):
            if same(third, np.broadcast_to(values, shape)):
                raise WrongError(
                    f"forward should return recon, mu, log_var; its third value is {function}. Likely cause: a name "
                    "that is not log_var in its return."
                )
    straight = same(second, mu) and same(third, log_var)
    renamed = same(second, log_var) and same(third, mu)  # encode's results are unpacked in the other order: only names
    if renamed and not differ(evidence.array("chosen_eval.sample", shape[1:], finite=False), mu[0]):
        raise WrongError(
            "forward should return recon, mu, log_var in this order; it draws z around the third. Likely cause: mu "
            "and log_var are exchanged in its return."
        )
    return drawn if straight or renamed else None


def is_drawn_around_mu(evidence, mu, sample, is_chosen):
    """Return whether the sample is mu plus noise, which it need not be if a model transforms its code."""
    step = "chosen_eval" if is_chosen else "eval"
    in_eval = [evidence.array(f"{step}.{name}", mu.shape[1:], finite=False) for name in ("sample", "mu")]
    if not differ(*in_eval):
        return True
    offset = mu - mu.mean()
    slope = (offset * (sample - sample.mean())).mean() / (offset**2).mean()
    return abs(slope - 1) < 0.1


def refuse_other_mean(mu, log_var, sample):
    """Raise WrongError if the sample is not drawn around mu."""
    sigma, one = np.exp(np.clip(log_var, -60, 60) / 2), np.ones_like(mu)
    if fits(sample, mu, sigma, log_var):
        return
    exchanged = "mu and log_var are exchanged, in the call of reparameterize or in it"
    rivals = {
        exchanged: (log_var, np.exp(np.clip(mu, -60, 60) / 2)),
        "mu and sigma are exchanged: z = sigma + mu * eps": (sigma, np.abs(mu)),
        "eps is added to mu * sigma: z = mu * sigma + eps": (mu * sigma, one),
        "sigma multiplies mu as well: z = (mu + eps) * sigma": (mu * sigma, sigma),
        "eps is added to sigma, not multiplied: z = mu + sigma + eps": (mu + sigma, one),
    }
    for cause, (mean, deviation) in rivals.items():
        if fits(sample, mean, deviation, log_var):
            raise WrongError(f"z should be mu + exp(log_var / 2) * eps, but it is not. Likely cause: {cause}.")


def fits(sample, mean, deviation, log_var):
    """Return whether the sample is drawn from N(mean, deviation²), both for small and for large log_var."""
    telling = (deviation > 1e-5) & (deviation < 1e5)  # where float32 can represent both the mean and the noise
    middle = np.median(log_var)
    parts = [telling & part for part in (log_var < middle, log_var >= middle) if part.sum() > 100]
    for part in parts:
        eps = (sample[part] - mean[part]) / deviation[part]
        if len(eps) < 100 or abs(eps.mean()) > 0.2 or not 0.8 < eps.std() < 1.25:
            return False
    return bool(parts)


def is_still(z, mu, is_plain):
    """Return whether nothing is random: the code is the same in every repetition, or equals mu."""
    if is_plain and np.abs(z - mu).max() <= 1e-6 * (1 + np.abs(mu).max()):
        return True
    return all(np.array_equal(z[0], other) for other in z[1:])


def refuse_still(evidence, z, mu, log_var, sample):
    """Raise WrongError with the reason why z is not random in training mode."""
    eps = (sample - mu) / np.exp(np.clip(log_var, -60, 60) / 2)
    in_eval = evidence.has("drawn_z")
    if differ(sample, z) and not np.array_equal(sample[0], sample[1]):
        cause = "forward decodes mu instead of the result of reparameterize"
    elif in_eval:
        cause = "reparameterize has its two cases exchanged: it samples if not self.training"
    elif np.abs(eps - 1).max() < 1e-2:
        cause = "eps is missing: z = mu + sigma in place of z = mu + sigma * eps"
    elif eps.std() > 0.5:
        cause = "the noise is the same in every call: torch.manual_seed in forward, or eps made once in __init__"
    else:
        cause = "forward decodes mu without reparameterize, or reparameterize has its two cases exchanged"
    raise WrongError(f"in training mode z should be drawn anew in each call, but it is not. Likely cause: {cause}.")


def has_own_noise(evidence):
    """Return whether the model's own loss comes with a constant log_var, which need not match the noise."""
    return evidence.has_own_loss and np.ptp(evidence.encoded("eval", "log_var", BATCH)) == 0


def check_noise(sample, mu, log_var):
    """Raise WrongError if the sample [R, B, d] is clearly not drawn from N(mu, exp(log_var))."""
    sigma = np.exp(np.clip(log_var, -60, 60) / 2)
    eps = (sample - mu) / sigma
    for axis, whose, cause in (
        (1, "each picture", "randn of [latent_dim]"),
        (2, "each latent dimension", "randn of [B, 1]"),
    ):
        if eps.shape[axis] > 1 and eps.std(axis=axis).mean() / (eps.std() + 1e-12) < 0.01:
            raise WrongError(
                f"{whose} should get its own noise eps, but all get the same. Likely cause: {cause} or of one number; "
                "use torch.randn_like(mu)."
            )
    rivals = {
        "log_var used as sigma: z = mu + log_var * eps; sigma is exp(log_var / 2)": np.abs(log_var),
        "log_var used as variance: z = mu + sqrt(log_var) * eps; sigma is exp(log_var / 2)": np.sqrt(np.abs(log_var)),
        "the variance exp(log_var) used as sigma, which is exp(log_var / 2), or log sigma as log_var": sigma**2,
        "exp(2 * log_var) used as sigma; sigma is exp(log_var / 2)": sigma**4,
        "0.5 * exp(log_var) in place of exp(0.5 * log_var)": sigma**2 / 2,
        "log_var / 2 used as sigma, its exp is missing": np.abs(log_var) / 2,
        "the root is taken twice: sigma is exp(log_var / 2)": sigma**0.5,
        "the sign of log_var: exp(-log_var / 2)": 1 / sigma,
        "softplus or log(1 + exp) in place of exp(log_var / 2)": np.log1p(sigma**2),
        "log_var not used: z = mu + eps; sigma is exp(log_var / 2)": np.ones_like(mu),
    }
    mean, deviation = eps.mean(), eps.std()
    if fits(sample, mu, sigma, log_var):
        return
    likely = max(rivals, key=lambda cause: likelihood(sample - mu, np.clip(rivals[cause], 1e-6, 1e6)))
    if fits(sample, mu, rivals[likely], log_var):
        raise WrongError(
            f"z should be mu + exp(log_var / 2) * eps, but its noise has a different size. Likely cause: {likely}."
        )
    cause = "a function of log_var that is not exp(log_var / 2)"
    if np.abs(eps - mean).max() < 2.2 * deviation:  # as for a uniform distribution
        cause = "torch.rand (uniform) in place of torch.randn"
    elif eps.min() > -1e-3:
        cause = "noise that is never negative, such as abs or the square of torch.randn"
    elif fits(sample, mu, deviation * sigma, log_var):
        cause = f"a factor of {deviation:.2g} before the noise"
    raise WrongError(
        "(z - mu) / exp(log_var / 2) should have mean 0 and standard deviation 1, got "
        f"{mean:.2f} and {deviation:.2f}. Likely cause: {cause}."
    )


def likelihood(noise, sigma):
    """Return the mean log density of the noise under N(0, sigma²), up to a constant."""
    return float(np.mean(-0.5 * (noise / sigma) ** 2 - np.log(sigma)))
