"""Optional, no points: the theory of sections 0 and 1 as small functions, so that numbers can check your derivations.

    python check.py -k 0

compares each function that you fill in with what sampling or summing gives. Fill in any of them, in any order.
Numbers are plain floats, distributions on a finite set are lists of floats; `math` has log, pi and sqrt.

The toy model of section 0.2 has one latent number and one observed number:

    z ~ N(0, 1),    x | z ~ N(a z, var)        a: how strongly x depends on z; var: the variance of the noise
"""

import math


def log_normal(x, mean, variance):
    """Return the log density of N(mean, variance) at x. (Given.)"""
    return -0.5 * math.log(2 * math.pi * variance) - (x - mean) ** 2 / (2 * variance)


def kl_discrete(p, q):
    """Return D_KL(p || q) of two distributions on the same finite set (section 0.1, task A).

    p, q: lists of K floats > 0, each summing to 1.
    """
    # BEGIN SOLUTION 0.1
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    # END SOLUTION


def kl_gaussians(mu1, sigma1, mu2, sigma2):
    """Return D_KL(N(mu1, sigma1²) || N(mu2, sigma2²)) of two Gaussians on the line (section 0.1, task B).

    sigma1, sigma2 > 0 are standard deviations.
    """
    # BEGIN SOLUTION 0.1
    return math.log(sigma2 / sigma1) + (sigma1**2 + (mu1 - mu2) ** 2) / (2 * sigma2**2) - 0.5
    # END SOLUTION


def log_evidence(x, a, var):
    """Return log p(x) of the toy model, exactly (section 0.2).

    Hint: a z + noise is a sum of two independent Gaussians, so x is Gaussian. What are its mean and its variance?
    """
    # BEGIN SOLUTION 0.2
    return log_normal(x, 0.0, a**2 + var)
    # END SOLUTION


def posterior(x, a, var):
    """Return the mean and the standard deviation of p(z | x) in the toy model: the q of the E-step (section 0.2).

    Hint: p(z | x) is proportional to p(z) p(x | z). Collect z² and z in the exponent and complete the square.
    """
    # BEGIN SOLUTION 0.2
    return a * x / (a**2 + var), math.sqrt(var / (a**2 + var))
    # END SOLUTION


def elbo(x, mu, sigma, a, var):
    """Return the ELBO of the toy model at x for q(z) = N(mu, sigma²), in closed form (section 0.2).

    Hint: it is E_q[log p(x | z)] - D_KL(q || p(z)), and E_q[(x - a z)²] = (x - a mu)² + a² sigma².
    """
    # BEGIN SOLUTION 0.2
    reconstruction = -0.5 * math.log(2 * math.pi * var) - ((x - a * mu) ** 2 + a**2 * sigma**2) / (2 * var)
    return reconstruction - kl_gaussians(mu, sigma, 0.0, 1.0)
    # END SOLUTION


def mean_log_likelihood(p_data, p_theta):
    """Return E_{x ~ p_data}[log p_theta(x)] on a finite set: what section 1.3 maximises.

    p_data, p_theta: lists of K floats > 0, each summing to 1. Compare it with -kl_discrete(p_data, p_theta).
    """
    # BEGIN SOLUTION 1.3
    return sum(a * math.log(b) for a, b in zip(p_data, p_theta, strict=True))
    # END SOLUTION
