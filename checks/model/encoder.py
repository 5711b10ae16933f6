"""Section 2.2.2: mu and log_var of each picture are independent of the rest of the batch."""

import numpy as np
import torch

from checks.evidence import WrongError, differ, spread
from checks.inputs import BATCH
from checks.model.evidence import NOISE, batch_message

EXTREMES = 5  # pictures of the last forward before decode is called alone


@torch.no_grad()
def probe_forward(probe):
    """Run forward in eval mode twice. If the codes are sampled in eval mode too, do it again without the noise."""
    results = []
    for step in ("eval", "again"):
        x, labels = probe.pictures(), probe.labels()
        results.append(probe.forward(step, x, labels))
        probe.out.put(**{f"{step}.x_after": x})
        if labels is not None:
            probe.out.put(**{f"{step}.labels_after": labels})
    first, second = (result.get("z") for result in results)
    if first is not None and second is not None and not torch.equal(first, second) and not probe.calm:
        probe.out.put(drawn_z=first, drawn_z_again=second)
        probe.calm = True
        probe_forward(probe)


@torch.no_grad()
def probe_batches(probe):
    """Run forward on a part of the pictures, then on one."""
    rows = probe.inputs["rows"]
    probe.forward("part", probe.pictures(rows), probe.labels(rows))
    probe.forward("single", probe.pictures(range(1)), probe.labels(range(1)))


@torch.no_grad()
def probe_extremes(probe):
    """Run forward on a black picture, a white one, and pictures in 0..255."""
    x = probe.pictures(range(EXTREMES))
    x[0], x[1], x[2:] = 0, 1, x[2:] * 255
    probe.forward("extreme", x, probe.labels(range(EXTREMES)))


@torch.no_grad()
def probe_other_shapes(probe):
    """If forward failed, try other input shapes that would explain it."""
    if probe.out.has("eval.mu") or probe.out.has("eval.encode.mu"):
        return
    rows = range(3)
    for name, shape in (("as_given", (3, 28, 28)), ("as_channels", (3, 1, 28, 28)), ("as_rows", (3, 784))):
        probe.forward(name, probe.pictures(rows).reshape(shape), probe.labels(rows))


def check_encoder(evidence):
    """Check that mu and log_var are finite, depend only on x, and can have both signs. May return a note."""
    if not evidence.has("eval.mu") and not evidence.has("eval.encode.mu"):
        explain_shape(evidence)
    evidence.refuse_layers("encode")
    if evidence.text("eval.nothing") == "encode":
        raise WrongError(
            f"{evidence.name}.encode should return mu, log_var, but returns None. Likely cause: its return is missing."
        )
    mu, log_var = (evidence.encoded("eval", name, BATCH) for name in ("mu", "log_var"))
    refuse_changed_inputs(evidence)
    refuse_random_mu(evidence)
    for name, whole in (("mu", mu), ("log_var", log_var)):
        for step, rows in (("part", evidence.rows), ("single", [0])):
            if differ(whole[rows], evidence.encoded(step, name, len(rows), finite=False)):
                raise WrongError(batch_message(f"a picture's {name}"))
    extreme = {name: evidence.encoded("extreme", name, EXTREMES, finite=False) for name in ("mu", "log_var")}
    check_values(mu, log_var, extreme)
    for name in ("mu", "log_var"):
        check_signs(evidence, name)
    bounded = [name for name in ("mu", "log_var") if is_bounded(extreme[name])]
    if bounded:
        return (
            f"{' and '.join(bounded)} cannot leave [-1, 1], which keeps the model from using its code freely. Likely "
            "cause: tanh or a clamp after the last layer; leave it out to score better."
        )
    return None


def refuse_changed_inputs(evidence):
    if not np.array_equal(evidence.array_or("eval.x_after", evidence.inputs["x"]), evidence.inputs["x"]):
        raise WrongError(
            "x should be the same after forward, but it was changed in place. Likely cause: x += ..., x.sub_() or x[:] "
            "= ...: write x = x + ... ."
        )
    labels = evidence.inputs["labels"]
    if not np.array_equal(evidence.array_or("eval.labels_after", labels), labels):
        raise WrongError("labels should be the same after forward, but they were changed in place: copy them first.")


def check_values(mu, log_var, extreme):
    """Check that mu and log_var are finite even for extreme pictures, depend on x, and come from two layers."""
    if not all(np.isfinite(values).all() for values in extreme.values()):
        raise WrongError(
            "mu and log_var should stay finite for a black picture, a white one and one in 0..255, got NaN or "
            "infinity. Likely cause: exp of large inputs, or a division by a picture's sum or deviation."
        )
    if all(spread(values) <= NOISE * np.abs(values).max() + 1e-9 for values in (mu, extreme["mu"])):
        raise WrongError(
            "mu should depend on x: different pictures should give different mu, but all give the same one. "
            "Likely cause: encode does not use x, or multiplies it away."
        )
    if not differ(mu, log_var) and spread(mu) > NOISE:
        raise WrongError(
            "mu and log_var should come from two separate layers, but they are the same numbers. Likely cause: encode "
            "calls the same layer twice, or returns one result twice."
        )


def refuse_random_mu(evidence):
    if evidence.is_random("mu"):
        cause = evidence.cause_of_randomness("eval", "noise added in encode")
        if not evidence.has("eval.encode.mu") and not evidence.is_random("log_var") and evidence.has("eval.z"):
            z, mu = (evidence.array(f"eval.{name}", (BATCH, evidence.latent_dim)) for name in ("z", "mu"))
            cause = cause if differ(z, mu) else "forward returns the sample z in place of mu: return recon, mu, log_var"
        raise WrongError(
            "in eval mode the same pictures should give the same mu twice, but they do not: random output. Likely "
            f"cause: {cause}."
        )


def explain_shape(evidence):
    """Report it if forward failed on [B, 28, 28] but works on the same pictures in a different shape."""
    if evidence.has("as_given.recon"):
        return
    for step, shape, remedy in (
        ("as_channels", "[B, 1, 28, 28]", "x = x.unsqueeze(1)"),
        ("as_rows", "[B, 784]", "x = x.flatten(1)"),
    ):
        if evidence.has(f"{step}.recon") and evidence.text("eval.kind") != "not_filled_in":
            raise WrongError(
                f"forward should take pictures [B, 28, 28]; it fails on them and works on {shape}: it needs "
                f"{shape}. Begin encode with {remedy}."
            )


def check_signs(evidence, name):
    """Check that mu and log_var can be negative: untrained at the largest width, trained, and pulled towards -2."""
    seen = []
    for step in ("dim2", "eval", "pulled"):
        for source in (f"{step}.{name}", f"{step}.encode.{name}"):
            if evidence.has(source):
                seen.append(evidence.array(source, (None, None), finite=False))
    if any((values < 0).any() for values in seen) or not any((values > 0).any() for values in seen):
        return
    meaning = "sigma could not be below 1" if name == "log_var" else "its codes would fill one corner of N(0, I)"
    raise WrongError(
        f"{name} should take both signs, but it is never negative for {BATCH} different pictures, nor after training "
        f"towards -2; {meaning}. Likely cause: an activation (ReLU, sigmoid, softplus, exp) after {name}'s last layer: "
        "leave it out."
    )


def is_bounded(extreme):
    """Return whether huge inputs drive values to exactly 1 or -1 and never beyond."""
    return bool(np.abs(extreme).max() <= 1 and np.mean(np.abs(extreme) > 1 - 1e-6) > 0.2)
