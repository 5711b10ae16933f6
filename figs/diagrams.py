"""The handout's diagrams that need no training: architecture, reparameterisation, ELBO gap."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK = "#1f2933"
BLUE, ORANGE, GREEN, RED, GREY = "#2b6cb0", "#c05621", "#2f855a", "#c53030", "#718096"
DPI = 130


def new_figure(width, height):
    """Return a white figure and its only axes, without a frame and in units of inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def box(axes, x, y, width, height, text, color, fill="white", size=11):
    """Draw a rounded box centred on (x, y)."""
    corner, style = (x - width / 2, y - height / 2), "round,pad=0.02,rounding_size=0.08"
    look = {"facecolor": fill, "edgecolor": color, "linewidth": 1.6}
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, **look))
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK)


def arrow(axes, start, end, color=INK, style="-|>", line="-", bend=0.0):
    look = {"color": color, "linestyle": line, "linewidth": 1.5, "connectionstyle": f"arc3,rad={bend}"}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=14, **look))


def save(figure, path):
    figure.savefig(path, dpi=DPI, facecolor="white")
    print(path)


def draw_architecture(path, original, recon):
    """Draw the encoder, the sample and the decoder with the shapes of one batch, and the two terms of the loss;
    original, recon: pictures [28, 28]."""
    figure, axes = new_figure(8, 4.4)
    for x, picture in ((0.6, original), (7.4, recon)):
        inset = axes.inset_axes((x - 0.5, 2.5, 1.0, 1.0), transform=axes.transData)
        inset.imshow(picture, cmap="gray", vmin=0, vmax=1)
        inset.set_axis_off()
    axes.text(0.6, 2.4, "x\n[B, 28, 28]", ha="center", va="top", fontsize=9.5, color=INK)
    axes.text(7.4, 2.4, "recon\n[B, 28, 28]\nin [0, 1]", ha="center", va="top", fontsize=9.5, color=INK)

    box(axes, 1.85, 3.0, 1.05, 1.6, "encoder\n\n784 →\nhidden_dim", BLUE, "#ebf4ff", 9.5)
    box(axes, 3.2, 3.45, 1.15, 0.66, "mu\n[B, latent_dim]", BLUE, size=9.5)
    box(axes, 3.2, 2.55, 1.15, 0.66, "log_var\n[B, latent_dim]", BLUE, size=9.5)
    box(axes, 4.72, 3.0, 1.35, 1.05, "σ = exp(½ log_var)\nz = mu + σ · ε\n[B, latent_dim]", ORANGE, "#fffaf0", 9.5)
    box(axes, 6.15, 3.0, 1.05, 1.6, "decoder\n\nlatent_dim →\nhidden_dim →\n784, sigmoid", GREEN, "#f0fff4", 9.5)
    for start, end in (
        ((1.12, 3.0), (1.28, 3.0)),
        ((2.4, 3.15), (2.58, 3.4)),
        ((2.4, 2.85), (2.58, 2.6)),
        ((3.8, 3.42), (4.01, 3.2)),
        ((3.8, 2.58), (4.01, 2.8)),
        ((5.42, 3.0), (5.59, 3.0)),
        ((6.7, 3.0), (6.88, 3.0)),
    ):
        arrow(axes, start, end)
    axes.text(4.72, 4.1, "ε ~ N(0, I), in training only", ha="center", fontsize=9.5, color=GREY)
    arrow(axes, (4.72, 4.06), (4.72, 3.56), GREY, line="--")
    axes.text(2.5, 4.1, "encode", ha="center", fontsize=10, color=BLUE)
    axes.text(4.72, 2.28, "reparameterize", ha="center", fontsize=10, color=ORANGE)
    axes.text(6.15, 4.1, "decode", ha="center", fontsize=10, color=GREEN)

    both = FancyBboxPatch((2.55, 2.1), 1.3, 1.8, boxstyle="round,pad=0.02", fill=False, edgecolor=RED, linestyle=":")
    axes.add_patch(both)
    box(axes, 3.0, 1.2, 2.7, 0.66, "KL(q(z | x) || p(z)), with\nq(z | x) = N(mu, diag(σ²))", RED, "#fff5f5", 9.5)
    box(axes, 6.15, 1.2, 2.0, 0.66, "reconstruction\n||x - recon||² / (2 var)", RED, "#fff5f5", 9.5)
    arrow(axes, (3.2, 2.08), (3.2, 1.57), RED, line="--")
    arrow(axes, (7.4, 1.8), (6.9, 1.57), RED, line="--")
    axes.plot([0.6, 0.6, 6.15], [1.98, 0.55, 0.55], color=RED, linestyle="--", linewidth=1.5)
    arrow(axes, (6.15, 0.55), (6.15, 0.84), RED, line="--")
    axes.text(4.75, 1.2, "+", ha="center", va="center", fontsize=15, color=RED)
    axes.text(4.72, 0.15, "vae_loss: the sum of both, mean over the batch", ha="center", fontsize=10, color=RED)
    save(figure, path)


def circle(axes, x, y, text, fill, edge):
    look = {"boxstyle": "circle,pad=0.35", "facecolor": fill, "edgecolor": edge, "linewidth": 1.6}
    axes.text(x, y, text, ha="center", va="center", fontsize=12, color=INK, bbox=look)


def edge(axes, start, end, color, passes):
    """Draw a forward edge in black and, beside it, the path of the gradient: dashed, or crossed out."""
    (x0, y0), (x1, y1) = start, end
    length = np.hypot(x1 - x0, y1 - y0)
    dx, dy = (y1 - y0) / length * 0.11, -(x1 - x0) / length * 0.11  # to the right of the edge, seen along it
    arrow(axes, start, end)
    arrow(axes, (x1 + dx, y1 + dy), (x0 + dx, y0 + dy), color if passes else RED, line="--")
    if not passes:
        axes.text((x0 + x1) / 2 + dx, (y0 + y1) / 2 + dy, "×", fontsize=24, color=RED, ha="center", va="center")


def draw_reparameterisation(path):
    """Draw the sampling of z twice: as a random node, and as a function of mu, sigma and external noise."""
    figure, axes = new_figure(8, 3.9)
    for left, title, color in ((0, "drawn inside the graph", RED), (4, "reparameterised", GREEN)):
        axes.text(left + 2, 3.55, title, ha="center", fontsize=12, color=color, weight="bold")
        circle(axes, left + 0.5, 1.95, "µ", "#ebf4ff", BLUE)
        circle(axes, left + 0.5, 0.75, "σ", "#ebf4ff", BLUE)
        circle(axes, left + 3.4, 1.35, "loss", "white", INK)
        passes = left > 0
        edge(axes, (left + 0.72, 1.88), (left + 1.8, 1.48), GREEN, passes)
        edge(axes, (left + 0.72, 0.82), (left + 1.8, 1.22), GREEN, passes)
        edge(axes, (left + 2.22, 1.35), (left + 3.05, 1.35), GREEN, True)
    circle(axes, 2, 1.35, "z", "#fff5f5", RED)
    axes.text(2, 2.2, "z ~ N(µ, σ²)", ha="center", fontsize=10.5, color=RED)
    circle(axes, 6, 1.35, "z", "#f0fff4", GREEN)
    circle(axes, 6, 2.85, "ε", "#f7fafc", GREY)
    axes.text(6.3, 2.85, "ε ~ N(0, 1)", va="center", fontsize=10, color=GREY)
    arrow(axes, (6, 2.62), (6, 1.6), GREY)
    axes.text(6.1, 2.1, "z = µ + σ ε", va="center", fontsize=10.5, color=GREEN)
    axes.text(2, 0.15, "the gradient stops at z", ha="center", fontsize=10.5, color=RED)
    axes.text(6, 0.15, "the gradient reaches µ and σ", ha="center", fontsize=10.5, color=GREEN)
    axes.plot([4, 4], [0.1, 3.7], color="#cbd5e0", linewidth=1)
    arrow(axes, (2.5, 3.25), (2.95, 3.25))
    axes.text(3.02, 3.25, "value", va="center", fontsize=9, color=INK)
    arrow(axes, (2.95, 3.0), (2.5, 3.0), GREEN, line="--")
    axes.text(3.02, 3.0, "gradient", va="center", fontsize=9, color=GREEN)
    save(figure, path)


def draw_elbo_gap(path):
    """Plot the ELBO of q = N(mu, sigma²) and log p(x) in the toy model of theory.py at x = 1.5, a = 1, var = 0.5."""
    x, a, var = 1.5, 1.0, 0.5
    evidence = -0.5 * np.log(2 * np.pi * (a**2 + var)) - x**2 / (2 * (a**2 + var))
    best_mean, best_sigma = a * x / (a**2 + var), np.sqrt(var / (a**2 + var))
    mu = np.linspace(-0.6, 2.6, 300)

    figure = Figure(figsize=(8, 3.9), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for sigma, color in ((best_sigma, GREEN), (0.9, BLUE), (0.2, ORANGE)):
        kl = 0.5 * (sigma**2 + mu**2 - 1) - np.log(sigma)
        rec = -0.5 * np.log(2 * np.pi * var) - ((x - a * mu) ** 2 + a**2 * sigma**2) / (2 * var)
        label = f"ELBO, sigma = {sigma:.2f}" + (" (the posterior's)" if sigma == best_sigma else "")
        axes.plot(mu, rec - kl, color=color, label=label, linewidth=2)
        if sigma == 0.2:
            middle = np.abs(mu - 1.9).argmin()
            low = (rec - kl)[middle]
            look = {"arrowstyle": "<->", "color": color, "linewidth": 2}
            axes.annotate("", (1.9, evidence), (1.9, low), arrowprops=look)
            axes.text(1.95, (evidence + low) / 2, "gap = KL(q || p(z | x))", fontsize=10, color=color, va="center")
    axes.axhline(evidence, color=INK, linestyle="--", label=f"log p(x) = {evidence:.3f}")
    axes.plot(best_mean, evidence, "o", color=GREEN, markersize=8, zorder=5)
    axes.text(best_mean, evidence + 0.3, "q = p(z | x): no gap", ha="center", fontsize=10, color=GREEN)
    axes.set(xlabel="mean mu of q", ylabel="nats", ylim=(-5.2, evidence + 0.65), xlim=(-0.6, 3.0))
    axes.legend(loc="lower center", fontsize=9)
    axes.grid(alpha=0.3)
    save(figure, path)


def compare_gradients():
    """Print the variances of two estimates of d/dmu E_q[log p(x | z)] in the toy model, with q the posterior."""
    x, var, mu, sigma = 1.5, 0.5, 1.0, np.sqrt(1 / 3)
    epsilon = np.random.default_rng(0).normal(size=10**6)
    z = mu + sigma * epsilon
    reparameterised = (x - z) / var
    score_function = (-((x - z) ** 2) / (2 * var) - 0.5 * np.log(2 * np.pi * var)) * epsilon / sigma
    for name, estimates in (("reparameterised", reparameterised), ("score function", score_function)):
        print(f"gradient, {name}: mean {estimates.mean():.2f}, variance {estimates.var():.2f}")
