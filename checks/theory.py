"""The checks of theory.py: compares each function that is filled in with sampling or integration. Optional, no points.

    results = check_theory("theory.py")       # one Result per function

`python check.py -k 0` prints them, and `-k elbo` one of them.
"""

import numpy as np

from checks.evidence import WrongError
from checks.result import NOT_FILLED_IN, PASSED, WRONG, Result
from checks.tools import compare
from lab.contract import SubmissionError, blame, get_function, load_submission

SAMPLES = 200_000
EVEN = 1e-3  # tolerance for means over evenly spread draws
CASES = 5  # fresh random inputs for each function
GRID = np.linspace(-12, 12, 20_001)  # for integrals over z


def find_functions(word):
    """Return the functions of theory.py for a word: 0 (all), a section (0.1), or part of a name."""
    if word in ("0", "1"):
        return [name for name, (section, _) in FUNCTIONS.items() if word == "0" or section.startswith("1")]
    by_section = [name for name, (section, _) in FUNCTIONS.items() if section == word]
    return by_section or [name for name in FUNCTIONS if word and word.lower() in name]


def check_theory(path, seed=None, functions=None):
    """Return one Result per function (default: all) of a file like theory.py.

    seed: of the random inputs (default: a new one). Raises SubmissionError if the file cannot be imported.
    """
    module = load_submission(path)
    results = []
    for name in functions or FUNCTIONS:
        section, check = FUNCTIONS[name]
        rng = np.random.default_rng(seed)
        try:
            for _ in range(CASES):
                check(Student(module), rng)
            results.append(Result(section, name, PASSED))
        except WrongError as error:
            results.append(Result(section, name, WRONG, message=str(error)))
        except SubmissionError as error:
            status = NOT_FILLED_IN if error.kind == "not_filled_in" else WRONG
            results.append(Result(section, name, status, message=str(error) if status == WRONG else ""))
    return results


class Student:
    """student.elbo(...) calls the file's function and returns a float, or a tuple of `count` floats."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        def call(*arguments, count=None):
            function = get_function(self.module, name)
            with blame(name, self.module):
                value = function(*arguments)
            try:
                numbers = [float(number) for number in ([value] if count is None else value)]
            except (TypeError, ValueError) as error:
                raise WrongError(f"{name} should return {count or 'one'} number(s), got {value!r:.80}.") from error
            if len(numbers) != (count or 1) or not np.isfinite(numbers).all():
                raise WrongError(f"{name} should return {count or 'one'} finite number(s), got {value!r:.80}.")
            return numbers[0] if count is None else tuple(numbers)

        return call


def normal(x, mean, variance):
    """Return the log density of N(mean, variance) at x."""
    return -0.5 * np.log(2 * np.pi * variance) - (x - mean) ** 2 / (2 * variance)


def draw_points(p):
    """Return SAMPLES draws from the distribution p, spread so evenly that their means are accurate to EVEN."""
    return np.searchsorted(np.cumsum(p) / np.sum(p), (np.arange(SAMPLES) + 0.5) / SAMPLES)


def draw_distributions(rng):
    """Return two distributions on the same K points, as lists."""
    points = int(rng.integers(3, 8))
    return [(rng.dirichlet(np.ones(points)) * 0.9 + 0.1 / points).tolist() for _ in range(2)]


def check_kl_discrete(student, rng):
    p, q = draw_distributions(rng)
    a, b = np.array(p), np.array(q)
    mistakes = [
        ((b * np.log(b / a)).sum(), "p and q are exchanged: the mean is over x ~ p"),
        ((a * np.log(b / a)).sum(), "the sign: the logarithm is of p / q"),
        (np.log(a / b).sum(), "the weights p are missing: it is a mean over x ~ p, not a sum"),
        ((a * np.log(a)).sum(), "q is missing: that is minus the entropy of p"),
        ((a * np.log2(a / b)).sum(), "log2: the handout's log is the natural one"),
    ]
    # A mean over draws of x ~ p rather than the formula, so that the check does not repeat the answer.
    expected = np.log(a / b)[draw_points(a)].mean()
    compare("kl_discrete", student.kl_discrete(p, q), expected, EVEN, "the mean of log p/q over draws", mistakes)
    compare("kl_discrete(p, p)", student.kl_discrete(p, p), 0, 1e-9, "equal distributions")


def check_kl_gaussians(student, rng):
    mu1, mu2 = rng.uniform(-2, 2, 2)
    sigma1, sigma2 = rng.uniform(0.3, 0.8), rng.uniform(1.2, 2.5)
    if rng.random() < 0.5:
        sigma1, sigma2 = sigma2, sigma1

    def closed(m1, s1, m2, s2, quadratic=0.5, constant=0.5, log=1.0):
        return log * np.log(s2 / s1) + s1**2 / s2**2 / 2 + quadratic * (m1 - m2) ** 2 / s2**2 - constant

    mistakes = [
        (closed(mu2, sigma2, mu1, sigma1), "the two Gaussians are exchanged: the mean is over p, the first one"),
        (closed(mu1, sigma1**0.5, mu2, sigma2**0.5), "sigma is a standard deviation, it was used as a variance"),
        (closed(mu1, sigma1, mu2, sigma2, constant=0), "the constant -1/2 is missing"),
        (closed(mu1, sigma1, mu2, sigma2, quadratic=1), "the factor 1/2 on (mu1 - mu2)² is missing"),
        (closed(mu1, sigma1, mu2, sigma2, log=2), "log(sigma2 / sigma1) has no factor 2; log of the variances has 1/2"),
        (closed(mu1, sigma1, mu2, sigma2, log=-1), "the sign of the logarithm: it is log(sigma2 / sigma1)"),
        (-closed(mu1, sigma1, mu2, sigma2), "the sign of the whole"),
    ]
    x = mu1 + sigma1 * GRID
    log_p, log_q = normal(x, mu1, sigma1**2), normal(x, mu2, sigma2**2)
    expected = integrate(np.exp(log_p) * (log_p - log_q)) * sigma1
    got = student.kl_gaussians(float(mu1), float(sigma1), float(mu2), float(sigma2))
    compare("kl_gaussians", got, expected, 1e-4, "the integral of p log p/q", mistakes)
    same = student.kl_gaussians(float(mu1), float(sigma1), float(mu1), float(sigma1))
    compare("kl_gaussians of two equal Gaussians", same, 0, 1e-9, "equal distributions")


def draw_toy(rng):
    """Return x, a, var of the toy model as floats."""
    return (float(value) for value in (rng.uniform(-2, 2), rng.uniform(0.5, 2), rng.uniform(0.2, 1.5)))


def joint(x, a, var):
    """Return log p(x, z) of the toy model on GRID."""
    return normal(GRID, 0, 1) + normal(x, a * GRID, var)


def integrate(values):
    """Return the integral over z of values on GRID."""
    return float(np.trapezoid(values, GRID))


def check_log_evidence(student, rng):
    x, a, var = draw_toy(rng)
    expected = np.log(integrate(np.exp(joint(x, a, var))))
    mistakes = [
        (np.exp(expected), "that is p(x), its logarithm is asked for"),
        (normal(x, 0, a + var), "z is multiplied by a, so its variance by a²"),
        (normal(x, 0, a**2 + var**2), "var is a variance already: do not square it"),
        (normal(x, 0, var), "the variance of a z is missing"),
        (normal(x, 0, (a**2 + var) ** 2), "the variance of x is a² + var: do not square it again"),
    ]
    how = "the integral of p(z) p(x|z) over z"
    compare("log_evidence", student.log_evidence(x, a, var), expected, 1e-4, how, mistakes)


def posterior_moments(x, a, var):
    """Return the mean and the standard deviation of p(z | x), by integrals over GRID."""
    density = np.exp(joint(x, a, var))
    density /= integrate(density)
    mean = integrate(GRID * density)
    return mean, integrate((GRID - mean) ** 2 * density) ** 0.5


def check_posterior(student, rng):
    x, a, var = draw_toy(rng)
    mean, deviation = posterior_moments(x, a, var)
    got_mean, got_deviation = student.posterior(x, a, var, count=2)
    how = "from p(z) p(x|z) over its integral"
    mistakes = [(x / a, "the prior is missing: it pulls the mean towards 0")]
    compare("the posterior's mean", got_mean, mean, 1e-4, how, mistakes)
    mistakes = [(deviation**2, "that is the variance, its root is asked for")]
    compare("the posterior's standard deviation", got_deviation, deviation, 1e-4, how, mistakes)


def check_elbo(student, rng):
    x, a, var = draw_toy(rng)
    mu, sigma = float(rng.uniform(-1.5, 1.5)), float(rng.uniform(0.3, 1.5))
    log_q = normal(GRID, mu, sigma**2)
    expected = integrate(np.exp(log_q) * (joint(x, a, var) - log_q))
    kl = 0.5 * (sigma**2 + mu**2 - 1) - np.log(sigma)
    exact = normal(x, a * mu, var) - a**2 * sigma**2 / (2 * var) - kl
    mistakes = [
        (exact + 2 * kl, "the sign of the KL term: it is subtracted"),
        (exact + kl, "the KL term is missing"),
        (-exact, "that is the loss, -ELBO"),
        (exact + a**2 * sigma**2 / (2 * var), "E_q[(x - a z)²] also has the part a² sigma²"),
        (exact + 0.5 * np.log(2 * np.pi * var), "the constant -log(2 pi var)/2 of log p(x|z) is missing"),
    ]
    got = student.elbo(x, mu, sigma, a, var)
    compare("elbo", got, expected, 1e-4, "the integral of q(z) log p(x,z)/q(z)", mistakes)

    evidence = np.log(integrate(np.exp(joint(x, a, var))))
    if got > evidence + 1e-4:
        raise WrongError(f"elbo should be at most log p(x) = {evidence:.4f}, got {got:.4f}.")
    at_best = student.elbo(x, *posterior_moments(x, a, var), a, var)
    compare("elbo at q = p(z|x)", at_best, evidence, 1e-4, "log p(x): there the gap closes")


def check_mean_log_likelihood(student, rng):
    p_data, p_theta = draw_distributions(rng)
    a, b = np.array(p_data), np.array(p_theta)
    mistakes = [
        ((b * np.log(a)).sum(), "the two are exchanged: the mean is over x ~ p_data"),
        (np.log(b).mean(), "the mean is over x ~ p_data: weigh each point with p_data"),
        (-(a * np.log(b)).sum(), "the sign"),
        ((a * np.log(b / a)).sum(), "that is -D_KL: leave the entropy of p_data out"),
    ]
    expected = np.log(b)[draw_points(a)].mean()
    got = student.mean_log_likelihood(p_data, p_theta)
    compare("mean_log_likelihood", got, expected, EVEN, "the mean of log p_theta over draws of p_data", mistakes)


FUNCTIONS = {  # function of theory.py → section of the handout, and its check
    "kl_discrete": ("0.1", check_kl_discrete),
    "kl_gaussians": ("0.1", check_kl_gaussians),
    "log_evidence": ("0.2", check_log_evidence),
    "posterior": ("0.2", check_posterior),
    "elbo": ("0.2", check_elbo),
    "mean_log_likelihood": ("1.3", check_mean_log_likelihood),
}
