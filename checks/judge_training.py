"""The judge of what happens in training mode: how z is drawn, and which gradients arrive."""

import numpy as np

from checks.evidence import WrongError


def judge_gradients(evidence, has_own_loss):
    """Raise WrongError unless gradients reach mu's and log_var's layers from the picture.

    The evidence holds gradient_mu, gradient_log_var, gradient_z and gradient_recon: for each row of each parameter the
    norm of the gradient from that output. A model with its own loss may go another way to its gradients.
    """
    evidence.raise_for("gradients")
    names = ("mu", "log_var", "z", "recon")
    count = np.size(evidence.arrays.get(f"{evidence.prefix}.gradient_mu", 0))
    norms = {name: evidence.array(f"gradient_{name}", (count,), "gradients", finite=False) for name in names}
    for name, norm in norms.items():
        if not np.isfinite(norm).all():
            raise WrongError(
                f"the gradient of {name} should be finite, it holds NaN or infinity. Likely cause: log or sqrt of 0."
            )
    mu, log_var, z, recon = (norms[name] > 0 for name in names)
    if has_own_loss:
        return
    if not recon.any():
        raise WrongError(
            "the picture should carry a gradient to decode's layers, it carries none. Likely cause: .detach(), .data, "
            "numpy or torch.no_grad() in decode or forward."
        )
    if not mu.any():
        raise WrongError(
            "mu should carry a gradient to the encoder, it carries none. Likely cause: .detach(), .data, numpy or "
            "torch.no_grad() in encode."
        )
    only_mu, only_log_var = mu & ~log_var, log_var & ~mu
    cut = "Likely cause: sampling that stops the gradient, by torch.normal, .sample(), .detach() or .data; write mu + "
    cut += "sigma * eps."
    if not (z & mu).any():
        raise WrongError(f"z should carry a gradient to mu's layers, it carries none. {cut}")
    if not (recon & mu).any():
        raise WrongError(
            "the picture should carry a gradient through z to the encoder, it carries none. Likely cause: z.detach() "
            "or z.data on the way into decode, or z is not what decode uses."
        )
    if only_mu.any() and not (z & only_mu).any():
        raise WrongError(f"z should carry a gradient to mu, it carries one only to log_var. {cut}")
    if only_log_var.any() and not (z & only_log_var).any():
        raise WrongError(f"z should carry a gradient to log_var, it carries one only to mu. {cut}")


def judge_draws(z, mu, log_var, is_plain, needed):
    """Raise WrongError unless z is drawn as mu + exp(log_var / 2) * eps, as far as that can be told.

    z, mu, log_var: [R, 2m, latent_dim], in which each picture stands twice, m rows apart. is_plain: in eval mode z is
    mu itself; where it is not (a model may well transform its code), only that z is random can be told. needed: the
    loss asks for a random z.
    """
    half = z.shape[1] // 2
    usable = np.isfinite(mu).all() and np.isfinite(log_var).all()
    if usable and not np.isfinite(z).all():
        raise WrongError(
            "z should be mu + exp(log_var / 2) * eps, it holds NaN or infinity though mu and log_var do not. Likely "
            "cause: log_var used as variance, and the root of a negative number taken."
        )
    if not usable or np.mean(z == 0) > 0.01:  # dropout on the code
        return
    noise = z - mu
    still = (
        np.abs(noise).max() <= 1e-6 * (1 + np.abs(mu).max()) if is_plain else np.array_equal(z[:, :half], z[:, half:])
    )
    if still:
        if needed:
            raise WrongError(
                "in training mode z should be drawn anew each time, it is not random. Likely cause: forward decodes mu "
                "without reparameterize, or reparameterize has its two cases exchanged."
            )
        return
    if is_plain:
        judge_noise(noise, log_var)


def judge_noise(noise, log_var):
    """Raise WrongError if noise = z - mu, [R, 2m, latent_dim], is clearly not N(0, exp(log_var))."""
    wanted = np.exp(np.clip(log_var, -60, 60) / 2)
    eps = noise / wanted
    apart = eps.std(axis=1).mean() / (eps.std() + 1e-12)
    if apart < 0.01:
        raise WrongError(
            "each picture should get its own noise eps, all pictures of a batch get the same. Likely cause: randn of "
            "[latent_dim]; use torch.randn_like(mu)."
        )
    if eps.shape[2] > 1 and eps.std(axis=2).mean() / (eps.std() + 1e-12) < 0.01:
        raise WrongError(
            "each latent dimension should get its own noise eps, all dimensions of a code get the same. Likely cause: "
            "randn of [B, 1]; use torch.randn_like(mu)."
        )
    rivals = {
        "log_var used as sigma: z = mu + log_var * eps; sigma is exp(log_var / 2)": np.abs(log_var),
        "log_var used as variance: z = mu + sqrt(log_var) * eps; sigma is exp(log_var / 2)": np.sqrt(np.abs(log_var)),
        "the variance exp(log_var) used as sigma; sigma is exp(log_var / 2)": np.exp(np.clip(log_var, -60, 60)),
        "the sign of log_var: exp(-log_var / 2)": 1 / wanted,
        "log_var not used: z = mu + eps; sigma is exp(log_var / 2)": np.ones_like(log_var),
    }
    clear = np.abs(log_var) > 1e-2
    if clear.sum() < 200:
        return
    own = likelihood(noise[clear], wanted[clear])
    best = max(rivals, key=lambda cause: likelihood(noise[clear], rivals[cause][clear]))
    rival = rivals[best][clear]
    if likelihood(noise[clear], rival) > own + 0.02 and 0.8 < (noise[clear] / rival).std() < 1.2:
        raise WrongError(f"z should be mu + exp(log_var / 2) * eps, its noise has another size. Likely cause: {best}.")
    mean, deviation = eps[clear].mean(), eps[clear].std()
    if abs(mean) > 0.2 or not 0.8 < deviation < 1.25:
        uniform = eps.min() >= -1e-6 and eps.max() <= 1 + 1e-6
        cause = "torch.rand (uniform) in place of torch.randn" if uniform else "a factor or another function of log_var"
        raise WrongError(
            "(z - mu) / exp(log_var / 2) should have mean 0 and standard deviation 1, got "
            f"{mean:.2f} and {deviation:.2f}. Likely cause: {cause}."
        )


def likelihood(noise, sigma):
    """Return the mean log density of the noise under N(0, sigma²), up to a constant."""
    sigma = np.maximum(sigma, 1e-12)
    return float(np.mean(-0.5 * (noise / sigma) ** 2 - np.log(sigma)))
