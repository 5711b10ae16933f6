"""The handout's curves, and reconstructions next to samples, from trained runs of the demo."""

import numpy as np
import torch
from codes import encode, kl_of, load_model, tile_row
from diagrams import BLUE, INK, ORANGE, RED, save
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from data_utils import load_split
from lab.output import read_output
from lab.run import Run

PIXELS = 28 * 28
NAIVE_VAR = 0.1  # of draw_naive's run
NAIVE_PICTURES = 200
NAIVE_DRAWS = 100_000


def read_history(run):
    """Return the history of a run's folder as {column: array}."""
    rows = Run(run).read_history()
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def draw_losses(path, runs):
    """Plot the loss, reconstruction and KL of four runs over the steps; runs: {title: (folder, var)}.

    The dotted line is the loss of a decoder that ignores z and always outputs the mean picture: total variance of the
    pixels / (2 var).
    """
    images, _ = load_split("dataset/train.npz")
    covariance = np.cov(images.reshape(len(images), -1).astype(np.float32) / 255, rowvar=False)
    strongest = np.linalg.eigvalsh(covariance)[-1]
    print(f"training pixels: total variance {covariance.trace():.2f}, in the strongest direction {strongest:.2f}")
    figure = Figure(figsize=(8, 7.4), facecolor="white", layout="constrained")
    for axes, (title, (run, var)) in zip(figure.subplots(2, 2).flat, runs.items(), strict=True):
        history = read_history(run)
        for term, color, width in (("recon_loss", BLUE, 4), ("kl", ORANGE, 2), ("loss", INK, 1.4)):
            last = history[f"valid_{term}"][-1]
            axes.plot(history["step"], history[f"train_{term}"], "--", color=color, linewidth=width / 2)
            label = f"{term}: {abs(last):,.2f} at the end"
            axes.plot(history["step"], history[f"valid_{term}"], color=color, linewidth=width, label=label)
            print(f"{run.name}: {term} {history[f'train_{term}'][-1]:.2f} in training, {last:.2f} in validation")
        landmark = covariance.trace() / (2 * float(var))
        label = f"mean picture for all: {landmark:,.2f}"
        axes.axhline(landmark, color=RED, linestyle=":", linewidth=2, label=label)
        axes.set_title(title, fontsize=10.5)
        lowest, top = min(history["valid_kl"].min(), history["train_kl"].min()), axes.get_ylim()[1]
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(lowest / 50 if lowest > 1 else -0.35, top * 2)  # room for the legend, and no curve on the edge
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set(xlabel="step", ylabel="mean over pictures, nats")
        axes.grid(alpha=0.3)
        place = "lower left" if lowest > 1 else "center right"
        axes.legend(fontsize=9, title="solid: validation, dashed: training", title_fontsize=9, loc=place)
    save(figure, path)


def draw_elbo_var(path, runs):
    """Plot the full negative ELBO and the mean squared error of sampled codes against var; runs: {var: folder}."""
    images, _ = load_split("dataset/valid.npz")
    x = images.reshape(len(images), -1) / 255
    rng = np.random.default_rng(0)
    rows = []
    for var, run in runs.items():
        mu, sigma = encode(run, "VAEwolabel", images)
        model, _ = load_model(run, "VAEwolabel")
        z = torch.as_tensor(mu + sigma * rng.normal(size=mu.shape)).float()
        with torch.no_grad():
            recon = model.decode(z).double().reshape(x.shape).numpy()
        squared = ((x - recon) ** 2).sum(axis=1).mean()
        kl = kl_of(mu, sigma).sum(axis=1).mean()
        loss = kl + squared / (2 * var)
        rows.append((var, loss + PIXELS / 2 * np.log(2 * np.pi * var), squared / PIXELS))
        print(f"var {var:g}: loss {loss:.2f}, -ELBO {rows[-1][1]:.1f}, MSE of sampled codes {rows[-1][2]:.4f}")
    var, bound, error = np.array(sorted(rows)).T
    best = bound.argmin()
    figure = Figure(figsize=(8, 3.7), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(var, bound, "o-", color=INK)
    label = f"lowest: {bound[best]:.0f} at var {var[best]:g}"
    left.plot(var[best], bound[best], "*", color=RED, markersize=15, label=label)
    left.set(xscale="log", xlabel="var", ylabel="-ELBO with the constant, nats per picture")
    left.legend(fontsize=9)
    right.plot(var, error, "o-", color=BLUE, label="mean squared error per pixel\nof sampled codes")
    right.plot(var, var, "--", color=ORANGE, label="var itself")
    right.axvline(var[best], color=RED, linestyle=":", label="the lowest -ELBO")
    right.set(xscale="log", yscale="log", xlabel="var", ylim=(error.min() / 3, error.max() * 3))
    right.legend(fontsize=9)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.xaxis.set_major_formatter(plain)
    right.yaxis.set_major_formatter(plain)
    save(figure, path)


@torch.no_grad()
def draw_naive(path, run):
    """Plot estimates of log p(x) by averaging over codes: from the prior, and from q(z|x) with importance weights."""
    images, _ = load_split("dataset/valid.npz")
    model, _ = load_model(run, "VAEwolabel")
    mu, sigma = (torch.as_tensor(part) for part in encode(run, "VAEwolabel", images[:NAIVE_PICTURES]))
    x = torch.as_tensor(images[:NAIVE_PICTURES]).reshape(-1, PIXELS).float() / 255
    constant = -PIXELS / 2 * np.log(2 * np.pi * NAIVE_VAR)
    torch.manual_seed(0)

    def log_likelihood(z):  # [n, latent_dim] → [pictures, n]
        return constant - torch.cdist(x, model.decode(z).reshape(-1, PIXELS)).double().square() / (2 * NAIVE_VAR)

    parts = [log_likelihood(torch.randn(2000, mu.shape[1])) for _ in range(NAIVE_DRAWS // 2000)]
    prior = torch.cat(parts, dim=1)
    posterior = []
    for _ in range(100):
        epsilon = torch.randn_like(mu)
        z = mu + sigma * epsilon
        recon = model.decode(z.float()).reshape(-1, PIXELS)
        log_x = constant - (x - recon).double().square().sum(dim=1) / (2 * NAIVE_VAR)
        posterior.append(log_x + ((epsilon**2 - z**2) / 2 + sigma.log()).sum(dim=1))  # log p(x, z) - log q(z|x)
    posterior = torch.stack(posterior, dim=1)
    share = torch.softmax(prior, dim=1).max(dim=1).values
    figure = Figure(figsize=(8, 3.4), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for weights, color, label in (
        (prior, ORANGE, "z drawn from the prior"),
        (posterior, BLUE, "z drawn from q(z | x)"),
    ):
        counts = [10**k for k in range(6) if 10**k <= weights.shape[1]]
        estimates = [(weights[:, :n].logsumexp(dim=1) - np.log(n)).mean().item() for n in counts]
        axes.plot(counts, estimates, "o-", color=color, label=label)
        pairs = zip(counts, estimates, strict=True)
        print(f"{label}: " + ", ".join(f"{n} draws {estimate:.1f}" for n, estimate in pairs))
    print(f"largest share of one of {NAIVE_DRAWS} prior draws: median {share.median():.3f}, mean {share.mean():.3f}")
    axes.set(xscale="log", xlabel="number of draws that are averaged", ylabel="estimate of log p(x), nats")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=10)
    save(figure, path)


def draw_samples(path, runs):
    """Draw the conditional demo's reconstructions and samples as var falls, with its metrics; runs: {var: folder}."""
    images, labels = load_split("dataset/valid.npz")
    shown = [np.flatnonzero(labels == digit)[index] for index in (0, 1) for digit in range(0, 10, 2)]
    rows = len(runs) + 1
    figure = Figure(figsize=(8, 0.4 + rows * 1.08), facecolor="white")
    height = 1.08 / figure.get_figheight()
    top = 1 - 0.4 / figure.get_figheight()
    for left, title in ((0.335, "reconstructions"), (0.745, "two samples for each label, z ~ N(0, I)")):
        figure.text(left, top + 0.01, title, ha="center", fontsize=11, color=INK)
    for row, var in enumerate((None, *runs)):
        bottom = top - (row + 1) * height
        blocks = [(images[shown], 0.19, 0.29, 5)]
        title, metrics = "originals", ""
        if var is not None:
            run = Run(runs[var])
            recon, _, generated = read_output(run.output, run.task, len(images), 2)
            samples = generated.swapaxes(0, 1).reshape(20, 28, 28)
            blocks = [(recon[shown], 0.19, 0.29, 5), (samples, 0.5, 0.49, 10)]
            result = run.result
            title = f"var {var}"
            metrics = f"MSE {result['mse']:.4f}\nSSIM {result['ssim']:.3f}\nFID {result['fid']:.1f}\n"
            metrics += f"read as asked {result['digit_accuracy']:.2f}"
        for pictures, left, width, per_row in blocks:
            inset = figure.add_axes((left, bottom + 0.03 * height, width, 0.94 * height))
            lines = [tile_row(pictures[start : start + per_row], 1) for start in range(0, len(pictures), per_row)]
            inset.imshow(np.vstack(lines), cmap="gray", vmin=0, vmax=255)
            inset.set_axis_off()
        figure.text(0.01, bottom + 0.87 * height, title, va="top", fontsize=11, color=INK, weight="bold")
        figure.text(0.01, bottom + 0.66 * height, metrics, va="top", fontsize=9, color=INK, linespacing=1.15)
    save(figure, path)
