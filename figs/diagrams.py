"""The handout's diagrams that need no trained model: architecture, reparameterisation, ELBO gap."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK = "#1f2933"
BLUE, ORANGE, GREEN, RED, GREY = "#2b6cb0", "#c05621", "#2f855a", "#c53030", "#718096"
DPI = 130


def new_figure(width, height):
    """Return a white figure of one axes without frame, in units of inches, and the axes."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def box(axes, x, y, width, height, text, color, fill="white", size=11):
    """Draw a rounded box centred on (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor=fill,
            edgecolor=color,
            linewidth=1.6,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK)


def arrow(axes, start, end, color=INK, style="-|>", line="-", bend=0.0):
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=14,
            color=color,
            linestyle=line,
            linewidth=1.5,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def save(figure, path):
    figure.savefig(path, dpi=DPI, facecolor="white")
    print(path)


def draw_architecture(path, original, recon):
    """The encoder, the sample and the decoder with the shapes of one batch; original, recon: a picture [28, 28]."""
    figure, axes = new_figure(10.6, 3.5)
    for x, picture in ((0.85, original), (9.75, recon)):
        inset = axes.inset_axes((x - 0.55, 1.2, 1.1, 1.1), transform=axes.transData)
        inset.imshow(picture, cmap="gray", vmin=0, vmax=1)
        inset.set_axis_off()
    axes.text(0.85, 1.0, "x\n[B, 28, 28]", ha="center", va="top", fontsize=10, color=INK)
    axes.text(9.75, 1.0, "recon\n[B, 28, 28], in [0, 1]", ha="center", va="top", fontsize=10, color=INK)

    box(axes, 2.55, 1.75, 1.3, 1.7, "encoder\n\n784 → hidden_dim", BLUE, "#ebf4ff", 9.5)
    box(axes, 4.3, 2.3, 1.3, 0.75, "mu\n[B, latent_dim]", BLUE, size=9.5)
    box(axes, 4.3, 1.2, 1.3, 0.75, "log_var\n[B, latent_dim]", BLUE, size=9.5)
    box(axes, 6.15, 1.75, 1.45, 0.95, "z = mu + σ · ε\n[B, latent_dim]", ORANGE, "#fffaf0", 9.5)
    box(axes, 8.0, 1.75, 1.35, 1.7, "decoder\n\nlatent_dim →\nhidden_dim → 784\nsigmoid", GREEN, "#f0fff4", 9.5)
    for start, end in (
        ((1.45, 1.75), (1.86, 1.75)),
        ((3.23, 1.95), (3.61, 2.25)),
        ((3.23, 1.55), (3.61, 1.25)),
        ((4.98, 2.25), (5.39, 1.95)),
        ((4.98, 1.25), (5.39, 1.55)),
        ((6.91, 1.75), (7.29, 1.75)),
        ((8.71, 1.75), (9.15, 1.75)),
    ):
        arrow(axes, start, end)
    axes.text(6.15, 3.0, "ε ~ N(0, I)\n(training only)", ha="center", fontsize=9.5, color=GREY)
    arrow(axes, (6.15, 2.93), (6.15, 2.27), GREY, line="--")
    axes.text(3.4, 0.35, "encode(x)   q(z | x) = N(mu, diag(σ²))", ha="center", fontsize=10, color=BLUE)
    axes.text(6.15, 0.92, "reparameterize", ha="center", fontsize=10, color=ORANGE)
    axes.text(8.0, 0.35, "decode(z)   mean of p(x | z)", ha="center", fontsize=10, color=GREEN)
    save(figure, path)


def circle(axes, x, y, text, fill, edge):
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=12,
        color=INK,
        bbox={"boxstyle": "circle,pad=0.35", "facecolor": fill, "edgecolor": edge, "linewidth": 1.6},
    )


def draw_reparameterisation(path):
    """The same draw of z twice: as a random node, and as a function of mu, sigma and outside noise."""
    figure, axes = new_figure(9.6, 3.9)
    for left, title, color in ((0, "sampled inside the graph", RED), (4.8, "reparameterised", GREEN)):
        axes.text(left + 2.4, 3.55, title, ha="center", fontsize=12, color=color, weight="bold")
        circle(axes, left + 0.8, 1.9, "µ", "#ebf4ff", BLUE)
        circle(axes, left + 0.8, 0.8, "σ", "#ebf4ff", BLUE)
        circle(axes, left + 4.1, 1.35, "loss", "white", INK)
    circle(axes, 2.5, 1.35, "z", "#fff5f5", RED)
    axes.text(2.5, 2.1, "z ~ N(µ, σ²): a dice throw", ha="center", fontsize=9.5, color=RED)
    circle(axes, 7.3, 1.35, "z", "#f0fff4", GREEN)
    circle(axes, 7.3, 2.75, "ε", "#f7fafc", GREY)
    axes.text(7.75, 2.75, "ε ~ N(0, 1)", va="center", fontsize=9.5, color=GREY)
    arrow(axes, (7.3, 2.55), (7.3, 1.55), GREY)
    axes.text(7.42, 2.05, "z = µ + σ ε", va="center", fontsize=9.5, color=GREEN)
    for left in (0, 4.8):
        arrow(axes, (left + 1.0, 1.83), (left + 2.29, 1.43))
        arrow(axes, (left + 1.0, 0.87), (left + 2.29, 1.27))
        arrow(axes, (left + 2.7, 1.35), (left + 3.82, 1.35))
    # The way back of the gradient, below the forward arrows.
    for left, color, text in ((0, RED, "gradient stops at the dice"), (4.8, GREEN, "gradient reaches µ and σ")):
        arrow(axes, (left + 3.75, 1.05), (left + 2.72, 1.1), color, line="--", bend=-0.25)
        axes.text(left + 2.4, 0.2, text, ha="center", fontsize=10, color=color)
    axes.text(1.75, 0.83, "×", fontsize=22, color=RED, ha="center", va="center")
    arrow(axes, (7.05, 1.08), (5.92, 0.62), GREEN, line="--", bend=-0.15)
    arrow(axes, (7.02, 1.55), (5.95, 2.05), GREEN, line="--", bend=0.2)
    axes.plot([4.8, 4.8], [0.2, 3.7], color="#cbd5e0", linewidth=1)
    save(figure, path)


def draw_elbo_gap(path):
    """The toy model of theory.py at x = 1.5, a = 1, var = 0.5: the ELBO of q = N(mu, sigma²) against log p(x)."""
    x, a, var = 1.5, 1.0, 0.5
    evidence = -0.5 * np.log(2 * np.pi * (a**2 + var)) - x**2 / (2 * (a**2 + var))
    best_mean, best_sigma = a * x / (a**2 + var), np.sqrt(var / (a**2 + var))
    mu = np.linspace(-0.6, 2.6, 300)

    figure = Figure(figsize=(8.6, 3.9), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for sigma, color in ((best_sigma, GREEN), (0.9, BLUE), (0.2, ORANGE)):
        kl = 0.5 * (sigma**2 + mu**2 - 1) - np.log(sigma)
        rec = -0.5 * np.log(2 * np.pi * var) - ((x - a * mu) ** 2 + a**2 * sigma**2) / (2 * var)
        label = f"ELBO, sigma = {sigma:.2f}" + (" (the posterior's)" if sigma == best_sigma else "")
        axes.plot(mu, rec - kl, color=color, label=label, linewidth=2)
        if sigma == 0.2:
            middle = np.abs(mu - 1.9).argmin()
            low = (rec - kl)[middle]
            axes.annotate("", (1.9, evidence), (1.9, low), arrowprops={"arrowstyle": "<->", "color": INK})
            axes.text(1.95, (evidence + low) / 2, "gap = KL(q || p(z | x))", fontsize=10, color=INK, va="center")
    axes.axhline(evidence, color=INK, linestyle="--", label=f"log p(x) = {evidence:.3f}")
    axes.plot(best_mean, evidence, "o", color=GREEN, markersize=8, zorder=5)
    axes.annotate(
        "q = p(z | x): no gap",
        (best_mean, evidence),
        (best_mean, evidence + 0.3),
        ha="center",
        fontsize=10,
        color=GREEN,
    )
    axes.set(xlabel="mean mu of q", ylabel="nats", ylim=(-5.2, evidence + 0.65), xlim=(-0.6, 3.0))
    axes.legend(loc="lower center", fontsize=9)
    axes.grid(alpha=0.3)
    save(figure, path)
