"""What the score cannot see: flags that ask a person to look at a submission, with the pictures that show why.

A flag is a question, not a verdict, and changes no score. Everything here is computed outside the sandbox, from the
arrays that it returned. docs/ta_security.md explains how the limits were chosen.
"""

from dataclasses import dataclass

import numpy as np

from lab.plots import to_uint8
from ta.codes import distortion, explain
from ta.copies import known_pictures

SHOWN = 20  # pictures per row
MIN_PICTURES = 1000  # with fewer hidden ones, codes cannot be judged

# Each limit is between the values of honest models and of the cheats in tests/cheats, on 10,000 hidden pictures.
NO_POINTS_FID = 10.0  # from this FID on there are no points for it, so illegible pictures gained nothing
MIN_ACCURACY = 0.6  # of the generated digits; honest models with points for FID from 0.79, independent noise 0.25
MAX_FRECHET_GAP = 10.0  # full distance minus diagonal one; honest up to 4.1, independent noise from 28
COPY_RATIO = 0.6  # distance to the nearest known picture over that to the second nearest: a copy has one original
MAX_COPIES = 0.03  # share below that ratio; honest up to 0.002, replays from 0.6
NOISE = 0.02  # of a number of the code, in its standard deviations: far less than a VAE's own sigma
MIN_DISTORTION = 0.2  # MSE by the Gaussian bound at that noise; honest from 0.89, pointers into pictures 0.15
WIDEST = 100  # latent_dim; above it the bonus loses more than pointers gain, and the bound is too close to 0
MAX_LEFT = 0.5  # share that no smooth function explains; honest up to 0.03 (0.25 with 1,000 pictures), cheats from 0.82
MAX_WAVE = 4e-4  # share that repeats along one number; honest up to 7e-5, several values in a number from 1.4e-3
WAVE_BY_CHANCE = 20  # times the share left over, divided by the number of codes: honest models reach a third of that


@dataclass(frozen=True)
class Flag:
    """reason: a sentence for the staff, with the numbers; pictures: {title of a row: uint8 [n, 28, 28]}, rows of equal
    length, shown below each other."""

    reason: str
    pictures: dict


def review(task, images, labels, recon, codes, generated, metrics):
    """Return a task's flags as plain values, [{reason, rows, pictures}], and the arrays that `pictures` refers to,
    {name: uint8 [len(rows), n, 28, 28]}.

    images: hidden pictures uint8 [N, 28, 28]; labels: uint8 [N]; recon: uint8 [N, 28, 28]; codes: float16 [N,
    latent_dim], as encode returned them; generated: uint8 [10, n, 28, 28] in the conditional task, else None; metrics:
    as score_task returns them. An error in here affects nobody's points: it becomes a flag.
    """
    try:
        flags = find_flags(images, labels, recon, codes, generated, metrics)
    except Exception as error:
        shown = {"hidden pictures": images[:SHOWN], "reconstructed": recon[:SHOWN]}
        flags = [Flag(f"the review failed ({type(error).__name__}: {error}): look at the pictures yourself.", shown)]
    entries = [
        {"reason": flag.reason, "rows": list(flag.pictures), "pictures": f"{task}_review_{number}"}
        for number, flag in enumerate(flags)
    ]
    rows = [np.stack(list(flag.pictures.values())) for flag in flags]
    return entries, dict(zip((entry["pictures"] for entry in entries), rows, strict=True))


def find_flags(images, labels, recon, codes, generated, metrics):
    """Return the Flags of a task, [] if there is nothing to look at."""
    flags = []
    if generated is not None:
        if metrics["fid"] < NO_POINTS_FID:
            flags.append(check_legibility(images, labels, generated, metrics["digit_accuracy"]))
            flags.append(check_frechet(images, labels, generated, metrics))
        flags.append(check_copies(generated))
    if len(images) >= MIN_PICTURES:
        given = None if generated is None else labels
        flags += [check_distortion(images, codes, recon, metrics["mse"]), check_codes(images, given, codes, recon)]
    return [flag for flag in flags if flag is not None]


def check_legibility(images, labels, generated, accuracy):
    """Flag generated pictures that cannot be read as the requested digits."""
    if accuracy >= MIN_ACCURACY:
        return None
    reason = f"only {accuracy:.0%} of the generated digits are read as the requested digit."
    return Flag(reason, real_and_generated(images, labels, generated))


def check_frechet(images, labels, generated, metrics):
    """Flag generated pictures whose pixels are right individually but not jointly."""
    if metrics["fid_full"] - metrics["fid"] <= MAX_FRECHET_GAP:
        return None
    return Flag(
        f"the Fréchet distance with full covariance is {metrics['fid_full']:.1f}, while the diagonal one is "
        f"{metrics['fid']:.1f}: each pixel has the right mean and deviation, but the pixels do not fit together.",
        real_and_generated(images, labels, generated),
    )


def check_copies(generated):
    """Flag generated pictures that are copies of known ones, possibly moved, turned, resized or made noisy."""
    index = known_pictures()
    nearest, ratios = (np.stack(arrays) for arrays in zip(*map(index.nearest, generated, range(10)), strict=True))
    share = float((ratios < COPY_RATIO).mean())
    if share <= MAX_COPIES:
        return None
    closest = np.argsort(ratios, axis=1)[:, : SHOWN // 10]  # [10, SHOWN // 10]
    return Flag(
        f"{share:.0%} of the generated pictures are copies of pictures in the training, validation or test split, up "
        "to a small shift, rotation or noise.",
        {
            "generated": np.take_along_axis(generated, closest[..., None, None], 1).reshape(-1, 28, 28),
            "nearest known picture": index.images[np.take_along_axis(nearest, closest, 1).ravel()],
        },
    )


def check_distortion(images, codes, recon, mse):
    """Flag reconstructions that are too good for a code of this width."""
    width = codes.shape[1]
    limit = MIN_DISTORTION * distortion(images, width * np.log2(1 + NOISE**-2) / 2)
    if width > WIDEST or mse >= limit:
        return None
    return Flag(
        f"MSE {mse:.4f} from {width} numbers; honest models of this width stay above {limit:.4f}. Do the codes point "
        "to pictures stored in the checkpoint?",
        {"hidden pictures": images[:SHOWN], "reconstructed": recon[:SHOWN]},
    )


def check_codes(images, labels, codes, recon):
    """Flag codes from which no smooth decoder makes these reconstructions, and numbers whose trailing digits matter."""
    found = explain(images, codes, recon, labels)
    if found.left > MAX_LEFT:
        reason = (
            f"no smooth function of the codes explains {found.left:.0%} of the reconstructions (honest models: at most "
            "25%). Do the codes point to pictures stored in the checkpoint, or are they packed bits?"
        )
    elif found.wave > max(MAX_WAVE, WAVE_BY_CHANCE * found.left / len(found.positions)):
        reason = (
            f"the reconstructions repeat along single numbers of the code (a wave explains {found.wave:.2%} of them; "
            "honest models: at most 0.01%). Are several values packed into each number?"
        )
    else:
        return None
    shown = np.linspace(0, len(found.positions) - 1, SHOWN).astype(int)
    rows = {"hidden pictures": images[found.positions[shown]], "reconstructed": recon[found.positions[shown]]}
    return Flag(reason, rows | {"predicted from other codes": to_uint8(found.guesses[shown])})


def real_and_generated(images, labels, generated):
    """Return rows to look at: one hidden picture per digit, and three generated ones."""
    digits = np.unique(labels)
    first = [np.flatnonzero(labels == digit)[0] for digit in digits]
    return {"hidden pictures": images[first]} | {f"generated, {n + 1}": generated[digits, n] for n in range(3)}
