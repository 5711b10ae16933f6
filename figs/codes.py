"""The handout's pictures of codes and decoded codes, from trained runs of the demo."""

import numpy as np
import torch
from diagrams import BLUE, GREEN, GREY, INK, ORANGE, RED, arrow, box, new_figure, save
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from data_utils import load_split
from lab.checkpoints import load_checkpoint, load_weights
from lab.codes import ACTIVE, decode_codes
from lab.contract import build_model, load_submission, run_forward
from lab.run import Run

SHOWN_DIGIT = 4  # of the aggregated posterior


def load_model(run, task):
    """Return a run's best model, in eval mode, and its submission."""
    run = Run(run)
    module = load_submission(run.submission)
    checkpoint = load_checkpoint(run.best)
    model = build_model(module, task, checkpoint["latent_dim"])
    load_weights(model, checkpoint, run.best)
    return model.eval(), module


@torch.no_grad()
def encode(run, task, images, labels=None):
    """Return mu and sigma of q(z|x), or of q(z|x, y) with labels, each float64 [N, latent_dim]."""
    model, module = load_model(run, task)
    x = torch.as_tensor(images).float() / 255
    _, mu, log_var = run_forward(model, module, x, None if labels is None else torch.as_tensor(labels).long())
    return mu.double().numpy(), log_var.double().div(2).exp().numpy()


def kl_of(mu, sigma):
    """Return KL(N(mu, sigma²) || N(0, 1)) elementwise, in nats."""
    return (sigma**2 + mu**2 - 1) / 2 - np.log(sigma)


def kl_of_moments(z):
    """Return KL(q || N(0, I)) for the Gaussian q with the mean and covariance of z [N, d]: a lower bound on the KL for
    the distribution of z."""
    mean, covariance = z.mean(axis=0), np.cov(z, rowvar=False)
    return (covariance.trace() + mean @ mean - len(mean) - np.linalg.slogdet(covariance)[1]) / 2


def tile_row(pictures, gap=2):
    """Return pictures [n, 28, 28] as one picture, side by side on white."""
    return np.hstack([np.pad(picture, gap, constant_values=255) for picture in pictures])


def show(axes, picture, title=None):
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=10, color=INK)


def draw_autoencoder(path, run):
    """Draw a plain autoencoder: good reconstructions, useless samples from N(0, I), and its codes."""
    images, labels = load_split("dataset/valid.npz")
    model, module = load_model(run, "VAEwolabel")
    codes, _ = encode(run, "VAEwolabel", images)
    firsts = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
    recon = decode_codes(model, module, codes[firsts], None)
    z = np.random.default_rng(0).normal(size=(40, codes.shape[1])).astype(np.float32)
    samples = decode_codes(model, module, z, None).reshape(4, 10, 28, 28)
    axes_of = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)[2][:2]
    points = codes @ axes_of.T
    norm = (codes**2).sum(axis=1)
    print(
        f"autoencoder: standard deviation of its codes, mean over dimensions: {codes.std(axis=0).mean():.2f}; |code|² "
        f"on average {norm.mean():.0f}, in 1 % of the pictures below {np.quantile(norm, 0.01):.0f}; N(0, I): 20"
    )

    figure = Figure(figsize=(8, 3.7), facecolor="white", layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    above, below = left.subplots(2, 1, height_ratios=[2, 4])
    show(above, np.vstack([tile_row(images[firsts]), tile_row(recon)]), "pictures over their reconstructions")
    show(below, np.vstack([tile_row(row) for row in samples]), "decoded from z ~ N(0, I)")
    axes = right.subplots()
    axes.scatter(*points[:3000].T, c=labels[:3000], cmap="tab10", s=3, alpha=0.5, vmin=-0.5, vmax=9.5)
    axes.add_patch(Circle((0, 0), 2, fill=False, edgecolor=INK, linewidth=2, label="86 % of N(0, I)"))
    axes.set(aspect="equal", xticks=[-10, 0, 10], yticks=[-10, 0, 10])
    axes.set_title("codes, first two principal axes;\none colour per digit", fontsize=10, color=INK)
    axes.legend(loc="upper right", fontsize=9)
    axes.grid(alpha=0.25)
    save(figure, path)


def draw_story(path, run):
    """Draw the generative story: draw z, decode it to a mean, add pixel noise."""
    model, module = load_model(run, "VAEwolabel")
    z = np.float32([[-0.9, 1.8], [1.2, 1.5], [1.8, -0.6], [-1.5, -1.2]])  # a 7, a 4, a 0 and a 1
    mean = decode_codes(model, module, z, None) / 255
    x = mean + np.random.default_rng(0).normal(0, np.sqrt(0.1), mean.shape)

    figure, axes = new_figure(8, 3.7)
    plane = figure.add_axes((0.02, 0.15, 0.29, 0.63))
    grid = np.linspace(-3, 3, 100)
    plane.contourf(grid, grid, np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / 2), levels=8, cmap="Blues", alpha=0.7)
    colors = [f"C{index}" for index in range(len(z))]
    plane.scatter(*z.T, c=colors, s=80, edgecolor="white", zorder=3)
    plane.set(xticks=[], yticks=[], aspect="equal")
    for x_text, text in (
        (1.32, "1  draw a code\nz ~ p(z) = N(0, I)"),
        (3.4, "2  decode it"),
        (5.05, "the mean of p(x | z)\nis shown and scored"),
        (7.0, "3  draw the picture\nx ~ N(mean, var I)"),
    ):
        axes.text(x_text, 3.38, text, ha="center", va="center", fontsize=10.5, color=INK)
    box(axes, 3.4, 1.7, 1.2, 0.9, "decoder", GREEN, "#f0fff4", 11.5)
    arrow(axes, (2.5, 1.7), (2.78, 1.7))
    arrow(axes, (4.02, 1.7), (4.4, 1.7))
    for row, (color, clean, noisy) in enumerate(zip(colors, mean, x, strict=True)):
        bottom = 0.665 - row * 0.213
        for left, picture in ((0.58, clean), (0.82, noisy)):
            inset = figure.add_axes((left, bottom, 0.0925, 0.2))
            inset.imshow(picture, cmap="gray", vmin=0, vmax=1)
            inset.set(xticks=[], yticks=[])
            for spine in inset.spines.values():
                spine.set(color=color, linewidth=2.4)
        arrow(axes, (5.45, 3.7 * (bottom + 0.1)), (6.5, 3.7 * (bottom + 0.1)), GREY)
    save(figure, path)


def draw_posterior(path, runs):
    """Plot draws from one digit's aggregated posterior, and only the means, as var falls; runs: {var: folder}."""
    images, labels = load_split("dataset/valid.npz")
    figure = Figure(figsize=(8, 6.3), facecolor="white", layout="constrained")
    panels = dict(zip(("2", "0.5", "0.02", "0.005"), figure.subplots(2, 2, sharex=True, sharey=True).flat, strict=True))
    rng = np.random.default_rng(0)
    for var, run in runs.items():
        mu, sigma = encode(run, "Genwithlabel", images, labels)
        z = mu + sigma * rng.normal(size=mu.shape)
        describe_posterior(var, mu, sigma, z, labels)
        if var not in panels:
            continue
        of_digit = z[labels == SHOWN_DIGIT]
        variances, vectors = np.linalg.eigh(np.cov(of_digit, rowvar=False))
        wide_and_narrow = vectors[:, [-1, 0]]
        axes = panels[var]
        axes.scatter(*(of_digit @ wide_and_narrow).T, s=7, color=BLUE, alpha=0.4, label="draws from q(z | y)")
        axes.scatter(*(mu[labels == SHOWN_DIGIT] @ wide_and_narrow).T, s=2, color=ORANGE, alpha=0.6, label="means mu")
        for radius in (1, 2):
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=INK, linestyle="--", linewidth=1.6, zorder=4))
        axes.set(xlim=(-9, 9), ylim=(-5.5, 5.5), aspect="equal", xticks=range(-8, 9, 2), yticks=range(-4, 5, 2))
        axes.set_title(f"var {var}: variances {variances[-1]:.2f} and {variances[0]:.2f}", fontsize=11)
        axes.grid(alpha=0.25)
    panels["2"].legend(loc="upper right", fontsize=9, markerscale=2.5)
    figure.supxlabel("along the direction in which q(z | y) is widest", fontsize=10)
    figure.supylabel("along the direction in which it is narrowest", fontsize=10)
    save(figure, path)


def describe_codes(name, run):
    """Print the KL term of a VAE and the moments of draws from its aggregated posterior."""
    images, _ = load_split("dataset/valid.npz")
    mu, sigma = encode(run, "VAEwolabel", images)
    z = mu + sigma * np.random.default_rng(0).normal(size=mu.shape)
    spread, norm = z.std(axis=0), (z**2).sum(axis=1)
    print(
        f"{name}: KL {kl_of(mu, sigma).sum(axis=1).mean():.1f}, mismatch at least {kl_of_moments(z):.1f}; standard "
        f"deviations of z {spread.min():.2f} to {spread.max():.2f}; mean sigma {sigma.mean():.4f}; |z|² on average "
        f"{norm.mean():.0f}, in 1 % of the pictures below {np.quantile(norm, 0.01):.0f}; N(0, I): {z.shape[1]}"
    )


def describe_posterior(var, mu, sigma, z, labels):
    """Print the KL term, a lower bound on the mismatch from the moments of z, and how well z predicts the digit."""
    digits = [z[labels == digit] for digit in range(10)]
    spectra = [np.linalg.eigvalsh(np.cov(of_digit, rowvar=False)) for of_digit in digits]
    per_digit = np.mean([kl_of_moments(of_digit) for of_digit in digits])
    half = len(z) // 2
    scores = []  # log densities of a Gaussian per digit, fitted to the first half
    for digit in range(10):
        some = z[:half][labels[:half] == digit]
        covariance, offset = np.cov(some, rowvar=False), z[half:] - some.mean(axis=0)
        distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        scores.append(-distance / 2 - np.linalg.slogdet(covariance)[1] / 2)
    print(
        f"var {var}: KL {kl_of(mu, sigma).sum(axis=1).mean():.2f}; mismatch at least {per_digit:.2f} per digit and "
        f"{kl_of_moments(z):.2f} of all digits together; |z|² on average {(z**2).sum(axis=1).mean():.1f}; "
        f"variances of q(z|y) {np.mean([s[0] for s in spectra]):.2f} to {np.mean([s[-1] for s in spectra]):.2f}; "
        f"standard deviation of mu {mu.std(axis=0).mean():.2f}, of z {z.std(axis=0).mean():.2f}; digit guessed from z "
        f"{(np.argmax(scores, axis=0) == labels[half:]).mean():.2f}"
    )


def draw_active_units(path, runs, plane):
    """Plot the KL of each dimension for some values of var, and a grid of codes of a model with two dimensions."""
    images, _ = load_split("dataset/valid.npz")
    figure = Figure(figsize=(8, 4), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.15)  # room for the title on the right
    axes, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    for (var, run), color, marker in zip(runs.items(), (BLUE, ORANGE, GREEN), "osD", strict=True):
        kl = np.sort(kl_of(*encode(run, "VAEwolabel", images)).mean(axis=0))[::-1]
        label = f"var {var}: KL {kl.sum():.1f}, {(kl > ACTIVE).sum()} active"
        axes.plot(range(1, len(kl) + 1), kl, color=color, marker=marker, markersize=4, label=label)
    axes.axhline(ACTIVE, color=RED, linestyle=":", label=f"{ACTIVE} nats")
    axes.set(xlabel="dimension, sorted by its KL", ylabel="KL of the dimension, nats", xticks=[1, 5, 10, 15, 20])
    axes.set_ylim(-0.1, 3.6)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    model, module = load_model(plane, "VAEwolabel")
    steps = torch.distributions.Normal(0, 1).icdf(torch.linspace(0.02, 0.98, 13)).numpy()
    z = np.stack(np.meshgrid(steps, steps[::-1]), axis=-1).reshape(-1, 2)
    grid = decode_codes(model, module, z, None).reshape(13, 13, 28, 28)
    show(right, np.vstack([np.hstack(row) for row in grid]), "two dimensions: codes on a grid, decoded")
    save(figure, path)


def draw_labels(path, runs):
    """Draw codes of pictures decoded with all ten labels, and lines between two codes decoded with either label."""
    images, labels = load_split("dataset/valid.npz")
    chosen = [np.flatnonzero(labels == digit)[index] for digit, index in ((2, 0), (4, 1), (7, 2), (9, 0))]
    figure = Figure(figsize=(8, 3.6), facecolor="white", layout="constrained")
    panels = figure.subplots(2, 2, height_ratios=[4, 2])
    ten = np.arange(10, dtype=np.uint8)
    for column, (var, run) in zip(panels.T, runs.items(), strict=True):
        model, module = load_model(run, "Genwithlabel")
        codes = encode(run, "Genwithlabel", images[chosen], labels[chosen])[0].astype(np.float32)
        rows = []
        for picture, code in zip(images[chosen], codes, strict=True):
            decoded = decode_codes(model, module, np.repeat(code[None], 10, axis=0), ten)
            rows.append(np.hstack([np.pad(picture, 2, constant_values=120), tile_row(decoded)]))
        show(column[0], np.vstack(rows), f"var {var}: a picture (grey frame),\nits code with labels 0 to 9")
        share = np.linspace(0, 1, 11, dtype=np.float32)[:, None]
        line = codes[1] * (1 - share) + codes[2] * share  # from the 4 to the 7
        both = [decode_codes(model, module, line, np.full(11, digit, np.uint8)) for digit in (4, 7)]
        title = "from the code of the 4 to that of the 7,\nwith label 4 (above) and 7 (below)"
        show(column[1], np.vstack([tile_row(row) for row in both]), title)
    save(figure, path)


def draw_nearest(path, generated):
    """Draw generated digits, uint8 [10, n, 28, 28], over the nearest training picture of the same digit."""
    images, labels = load_split("dataset/train.npz")
    shown, near, distances = [], [], []
    for digit in range(10):
        train = images[labels == digit].reshape(-1, 784).astype(np.float32) / 255
        some = generated[digit, :2].reshape(-1, 784).astype(np.float32) / 255
        squared = (some**2).sum(axis=1)[:, None] + (train**2).sum(axis=1) - 2 * some @ train.T
        shown += list(generated[digit, :2])
        near += list(images[labels == digit][squared.argmin(axis=1)])
        distances += list(squared.min(axis=1) / 784)
    print(f"nearest training pictures: MSE {min(distances):.4f} to {max(distances):.4f}")
    figure = Figure(figsize=(8, 1), facecolor="white", layout="constrained")
    axes = figure.subplots()
    rows = np.vstack([tile_row(shown, 1), tile_row(near, 1)])
    show(axes, rows)
    axes.text(-8, 15, "generated", ha="right", va="center", fontsize=9, color=INK)
    axes.text(-8, 45, "nearest in\ntraining", ha="right", va="center", fontsize=9, color=INK)
    save(figure, path)
