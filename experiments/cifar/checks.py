"""The checks of the CIFAR-10 lab: of the encoder and the decoder with each backbone, and of the loss."""

from functools import partial

import numpy as np

from checks import tools
from checks.evidence import differ
from checks.lab import Lab
from checks.tools import bce, compare_losses, kl, means, require, scale_mistakes, tensors
from lab.contract import SubmissionError, describe, get_function
from lab.tasks import Section

BATCH, PICTURE, PIXELS = 22, (3, 32, 32), 3072
NAMES, LEAVES, WEIGHT = ("loss", "recon_loss", "kl"), ("recon", "mu", "log_var"), 3.7  # the rec_weight of the checks
PARAMETERS = {  # of the handout's networks: how many there are, and how many more for each dimension of the code
    ("Encoder", "linear"): (803_136, 130),
    ("Encoder", "conv"): (388_416, 2050),
    ("Decoder", "linear"): (806_208, 64),
    ("Decoder", "conv"): (389_187, 1024),
}


def make_inputs(seed):
    """Return fresh inputs: x, recon float32 [22, 3, 32, 32] in (0, 1); z, mu, log_var [22, latent_dim]; sizes: how many
    rows of these each of four cases of the loss has."""
    rng = np.random.default_rng(seed)
    code = (BATCH, int(rng.integers(25, 41)))
    x = rng.uniform(0.1, 0.9, (BATCH, 3, 1, 1)) + rng.uniform(-0.09, 0.09, (BATCH, *PICTURE))
    inputs = {"x": x, "recon": rng.uniform(0.05, 0.95, x.shape), "z": rng.normal(0, 1, code)}
    inputs |= {"mu": rng.normal(0.4, 1.2, code), "log_var": rng.uniform(-2.5, 1.5, code)}
    inputs = {name: np.float32(value) for name, value in inputs.items()}
    return inputs | {"sizes": rng.permutation([3, 5, 8, 11]), "seed": np.int64(seed % 2**31)}


def network(name, backbone):
    """Return the probe and the evaluator of the Encoder or the Decoder with this backbone."""
    encodes = name == "Encoder"
    outputs, argument = (("mu", "log_var"), "x") if encodes else (("recon",), "z")

    def probe(module, inputs, out):
        (given,), latent_dim = tensors(inputs, argument), inputs["z"].shape[1]
        model = get_function(module, name)(backbone, latent_dim)
        out.put(parameters=sum(parameter.numel() for parameter in model.parameters()))
        shape = (latent_dim,) if encodes else PICTURE

        def call(key, given):
            values = tools.unpack(model.eval()(given), len(outputs), f"{name}.forward")
            for output, value in zip(outputs, values, strict=True):
                if value.shape != (len(given), *shape):
                    text = f"{output} should be [B, {', '.join(map(str, shape))}], got {describe(value)}"
                    raise SubmissionError(text + cause_of_shape(value.shape[1:]), "bad_shape")
                out.put(**{f"{key}_{output}": value})
            return values[0]

        for key, values in {"all": given, "part": given[5:9], "opposite": -given, "none": 0 * given}.items():
            call(key, values)
        # Far from 0 it shows what stands after the last layer; where a sigmoid does, not so far that all is 0 or 1.
        for scale in (10_000,) if encodes else (1, 10, 100, 1000, 10_000):
            if call("far", scale * given).std() > 0.2:
                break

    def check(inputs, evidence):
        latent_dim = inputs["z"].shape[1]
        require(evidence.number("parameters"), f"{name} has no weights", "its layers are in a plain list")
        for output in outputs:
            shape, keys = (latent_dim,) if encodes else PICTURE, ("all", "opposite", "none", "far")
            got, opposite, none, far = (evidence.array(f"{key}_{output}", (BATCH, *shape), "run") for key in keys)
            part = evidence.array(f"part_{output}", (4, *shape), "run")
            text = f"{output} of a picture should not depend on the others of its batch, it does"
            require(not differ(got[5:9], part), text, "a view or reshape that joins pictures")
            require(np.ptp(far, axis=0).max() > 1e-3, f"{output} should depend on {argument}, it does not")
            values = np.stack([got, opposite, none, far]) if encodes else far
            text = f"{output} should contain {'numbers of any sign' if encodes else 'pixels anywhere in [0, 1]'}"
            causes = [cause for cause, found in (last_layers if encodes else last_pixels)(values) if found]
            require(not causes, f"{text}, got {values.min():.3g} to {values.max():.3g}", *causes[:1])
            if not encodes:
                got, opposite, none = (np.log(p / (1 - p)) for p in (got, opposite, none))
            bend = np.abs(got + opposite - 2 * none).max() / np.abs(got - none).max()
            text = f"{name} should not be linear, it is one linear map"
            require(bend > 3e-3, text, "no activation between its layers")
        heads = [evidence.array(f"all_{output}", (BATCH, *shape), "run") for output in outputs]
        require(not encodes or differ(*heads), "mu and log_var should come from two heads, they are equal")
        expected, parameters = PARAMETERS[name, backbone] @ np.array([1, latent_dim]), evidence.number("parameters")
        note = f"it has {parameters:,} parameters, the handout's has {expected:,}: its results will differ."
        return note if parameters != expected else ""

    return probe, check


def cause_of_shape(shape):
    """Return the likely cause of an output [B, *shape] where another shape was expected, as a sentence's end."""
    causes = {
        "nn.Unflatten(1, (3, 32, 32)) is missing": tuple(shape) == (PIXELS,),
        "stride 2, padding 1 and output_padding 1 double a picture, other values do not": len(shape) == 3
        and shape[0] == 3,
        "the colours come first: nn.Unflatten(1, (3, 32, 32))": tuple(shape) == (32, 32, 3),
        "latent_dim is written as a number": tuple(shape) == (20,),
    }
    return "".join(f". Likely cause: {cause}" for cause, found in causes.items() if found)


def last_layers(values):
    """Return (what may stand after a head of the encoder, whether it does) for pairs that would be wrong."""
    low, high = values.min(), values.max()
    yield "a ReLU after the head", low == 0 and (values[0] == 0).mean() > 0.1
    yield "a sigmoid after the head", low >= 0 and high <= 1
    yield "exp or softplus after the head", low >= 0
    yield "tanh after the head", low >= -1 and high <= 1


def last_pixels(pixels):
    """The same for the decoder's last layer and pixels [B, 3, 32, 32] of codes that are far from 0."""
    low, high = pixels.min(), pixels.max()
    yield "the sigmoid is missing", low < -1 or high > 1
    yield "tanh in place of the sigmoid", low < 0
    yield "softmax in place of the sigmoid, so that pixels add up to 1", np.ptp(pixels.sum(axis=(1, 2, 3))) < 1e-2
    yield "two sigmoids", low >= 0.5 and high < 0.74
    yield "a ReLU before the sigmoid", low >= 0.5
    yield "clamp or ReLU, which cut the gradient: use a sigmoid", np.mean((pixels == 0) | (pixels == 1)) > 0.3


def probe_loss(module, inputs, out):
    loss = partial(get_function(module, "vae_loss"), rec_weight=WEIGHT)
    read = partial(tools.take_losses, names=NAMES, what="vae_loss")
    tools.record_losses(inputs, out, loss, read, ("recon", "x", "mu", "log_var"), LEAVES)


def check_loss(inputs, evidence):
    sizes, got = inputs["sizes"], evidence.array("values", (4, 3), "run")
    x, recon, mu, log_var = (np.float64(inputs[name]) for name in ("x", *LEAVES))
    gauss = (mu, np.exp(log_var / 2), 0, 1)
    rec, right = means(bce(x, recon), sizes), means(kl(*gauss), sizes)
    mistakes = [
        (means(tools.bce_with_logits(x, recon), sizes), "with_logits on pixels that have been through a sigmoid"),
        (means(bce(recon, x), sizes), "recon and x are exchanged"),
        (means((x - recon) ** 2, sizes), "the squared error in place of the binary cross-entropy"),
        (rec / 3, "the mean over the colours is taken: sum over them"),
        (WEIGHT * rec, "it is returned with its weight"),
        *scale_mistakes(rec, sizes, PIXELS, "pixels"),
    ]
    how = "the binary cross-entropy, summed over colours and pixels, mean over the batch"
    compare_losses('vae_loss: "recon_loss"', got[:, 1], rec, how, mistakes)
    formulas = [(kl(mu, np.exp(log_var), 0, 1), "log_var is used as the logarithm of a standard deviation")]
    mistakes = [(means(formula, sizes), cause) for formula, cause in formulas + tools.kl_mistakes(*gauss)]
    mistakes += scale_mistakes(right, sizes, mu.shape[1], "dimensions")
    compare_losses('vae_loss: "kl"', got[:, 2], right, "KL(q(z|x) || N(0, I)), mean over the batch", mistakes)
    mistakes = [(rec + right, "rec_weight is not used"), *tools.weight_mistakes(rec, right, WEIGHT)]
    compare_losses('vae_loss: "loss"', got[:, 0], WEIGHT * rec + right, "rec_weight * recon_loss + kl", mistakes)
    shapes = {"recon": recon.shape, "mu": mu.shape, "log_var": mu.shape}
    tools.check_gradients('vae_loss: "loss"', evidence, ".detach(), .item() or numpy", **shapes)


PARTS = (
    (Section("1.1", "Encoder, linear", 15, "linear_encoder"), network("Encoder", "linear")),
    (Section("1.2", "Encoder, conv", 20, "conv_encoder"), network("Encoder", "conv")),
    (Section("2.1", "Decoder, linear", 15, "linear_decoder"), network("Decoder", "linear")),
    (Section("2.2", "Decoder, conv", 20, "conv_decoder"), network("Decoder", "conv")),
    (Section("3", "vae_loss", 30, "loss"), (probe_loss, check_loss)),
)
LAB = Lab("cifar", make_inputs, {section.number: (section, functions) for section, functions in PARTS})
