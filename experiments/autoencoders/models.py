"""Sections 1.1 to 1.7 of the autoencoders lab: for each a probe, which calls the submission, and an evaluator."""

import numpy as np
import torch

from checks.evidence import sigmoid
from checks.tools import Stub, check_draws, check_gradients, record_gradients, require, tensors, unpack
from lab.contract import SubmissionError, get_function

BATCH, X_DIM, HIDDEN, LATENT = 150, 37, 29, 40
KINDS = ("AE", "VAE", "CVAE")


def join(xs, ys):
    return torch.cat([xs, torch.eye(10)[ys]], dim=1)


def probe_encoder(module, inputs, out):
    build = get_function(module, "Encoder")
    xs, ys = tensors(inputs, "x", "labels")
    plain, model = build(X_DIM, HIDDEN, LATENT), build(X_DIM + 10, HIDDEN, LATENT, is_dist=True)
    (z,) = unpack(plain(xs), 1, "Encoder.forward with is_dist=False")
    mu, sigma = unpack(model(xs, ys), 2, "Encoder.forward with is_dist=True")
    out.put(z=z, mu=mu, sigma=sigma, z_layers=plain.mu(xs))
    out.put(mu_layers=model.mu(join(xs, ys)), sigma_layers=model.sigma(join(xs, ys)))
    for parameter in model.sigma.parameters():
        parameter.data *= 3
    out.put(tripled=unpack(model(xs, ys), 2, "Encoder.forward")[1])


def check_encoder(inputs, evidence):
    names = ("z", "z_layers", "mu", "mu_layers", "sigma", "sigma_layers", "tripled")
    got = {name: evidence.array(name, (BATCH, LATENT), "run") for name in names}
    sigma, raw = got["sigma"], got["sigma_layers"]
    for name in ("z", "mu"):
        right = got[f"{name}_layers"]
        mistakes = dict.fromkeys(["an activation after the mean"], (right.clip(0), sigmoid(right), np.tanh(right)))
        mistakes["mu and sigma are exchanged"] = (raw, np.exp(raw / 2), np.exp(raw), np.log1p(np.exp(raw)))
        causes = [cause for cause, wrong in mistakes.items() if min(np.abs(got[name] - w).max() for w in wrong) < 1e-4]
        text = f"Encoder.forward should return {name} = self.mu(join(xs, ys)), it returns another value"
        require(np.abs(got[name] - right).max() < 1e-4, text, causes[0] if causes else "")
    cause = "a ReLU, which gives 0" if sigma.min() == 0 else "the layers' output is returned as it is"
    text = f"Encoder.forward should return a standard deviation, above 0, got {sigma.min():.3g}"
    require(sigma.min() > 0, text, f"{cause}: use exp or softplus")
    text = "Encoder.forward should compute sigma with self.sigma; with other weights there it returns the same sigma"
    require(np.abs(sigma - got["tripled"]).max() > 1e-6, text, "sigma comes from self.mu, or is a constant")


def layers_of(kind):
    """Return the probe and the evaluator of self.decoder, of the VAE or the CVAE."""

    def probe(module, inputs, out):
        model = get_function(module, "Decoder")(X_DIM, HIDDEN, LATENT, decode_type=kind)
        codes = torch.randn(9, LATENT + 10 * (kind == "CVAE"))
        if not callable(getattr(model, "decoder", None)):
            raise SubmissionError(f"decode_type {kind} should give self.decoder layers, it has none", "bad_shape")
        first, second, none = (model.decoder(z) for z in (codes, -codes, 0 * codes))
        out.put(out=first, bend=second + first - 2 * none, count=len(list(model.parameters())))

    def check(inputs, evidence):
        got = evidence.array("out", (9, None), "run")
        text = f"self.decoder should return [B, x_dim], here x_dim = {X_DIM}, got [B, {got.shape[1]}]"
        require(got.shape[1] == X_DIM, text, "a size is written as a number, or two sizes are exchanged")
        require(evidence.number("count"), "self.decoder should have weights, it has none", "they are in a plain list")
        bend = np.abs(evidence.array("bend", (9, X_DIM), "run")).max()
        require(bend > 1e-5, "self.decoder is one linear map", "no activation between its layers")
        text = f"self.decoder should return numbers of any sign, {(got == 0).mean():.0%} of yours are 0"
        require((got == 0).mean() < 0.2, text, "a ReLU after the last layer")

    return probe, check


def probe_decoder(module, inputs, out):
    z, ys = tensors(inputs, "z", "labels")
    for kind in KINDS:
        model = get_function(module, "Decoder")(X_DIM, HIDDEN, LATENT, decode_type=kind)
        named, others = ({"ys": ys}, {"ys": (ys + 1) % 10}) if kind == "CVAE" else ({}, {})
        for name, given in ((f"{kind}_recon", named), (f"{kind}_other", others)):
            out.put(**{name: unpack(model(4 * z, **given), 1, f"Decoder.forward of the {kind}")[0]})
        out.put(**{f"{kind}_layers": model.decoder(join(4 * z, ys) if named else 4 * z)})


def check_decoder(inputs, evidence):
    for kind in KINDS:
        names = ("recon", "layers", "other")
        recon, layers, other = (evidence.array(f"{kind}_{name}", (BATCH, X_DIM), "run") for name in names)
        low, high, ends = recon.min(), recon.max(), np.mean((recon == 0) | (recon == 1))
        what = f"Decoder.forward of the {kind} should return pixels in [0, 1]"
        require(low >= 0 and high <= 1, f"{what}, got {low:.3g} to {high:.3g}", "the sigmoid is missing")
        twice = layers.min() >= 0 and layers.max() <= 1 and np.abs(recon - sigmoid(layers)).max() < 1e-5
        cause = "two sigmoids, one in self.decoder and one in forward"
        require(not twice or np.ptp(layers) == 0, f"{what}, all of it, got only {low:.3g} to {high:.3g}", cause)
        cause = "clamp or ReLU, which cut the gradient there: use a sigmoid"
        require(ends < 0.2, f"{what}, got exactly 0 or 1 for {ends:.0%} of them", cause)
        alone = np.abs(recon.sum(axis=1) - 1).max() > 1e-3
        require(alone, f"{what}, each for itself, yours add up to 1", "softmax in place of sigmoid")
        require(np.ptp(recon, axis=0).max() > 1e-3, f"{what} that depend on zs, yours do not")
        different = kind != "CVAE" or np.abs(recon - other).max() > 1e-6
        require(different, f"{what} that depend on ys, yours do not", 'zs is not joined to otherinputs["ys"]')
        given, cause = ("join(zs, ys)", "the labels are joined in another way") if kind == "CVAE" else ("zs", "")
        rises = np.diff(recon.ravel()[layers.ravel().argsort()]).min() > -1e-5
        require(rises, f"{what} that rise with what self.decoder returns for {given}, yours do not", cause)


def model_of(name, variational=True, labelled=False):
    """Return the probe and the evaluator of a model's forward, which is given a stub encoder and a stub decoder."""
    what, code_shape = f"{name}.forward", (BATCH, LATENT)

    def probe(module, inputs, out):
        x, mu, sigma, z, recon, ys = tensors(inputs, "x", "mu", "sigma", "z", "recon", "labels")
        mu.requires_grad_(), sigma.requires_grad_()
        encoder = Stub(lambda *_, **__: (mu * 1, sigma * 1) if variational else z)
        decoder = Stub(lambda zs, **_: recon + zs[:, :1])
        model = get_function(module, name)(encoder, decoder)
        values = unpack(model(*[x, ys][: 1 + labelled]), 3 if variational else 1, what)
        if not encoder.calls or not decoder.calls:
            raise SubmissionError(f"{what} should call self.encoder and self.decoder, it does not", "bad_shape")
        code, pictures = decoder.calls[-1][0], encoder.calls[-1][0]
        out.put(code=code, pictures=pictures, recon=values[0], right=recon + code[:, :1])
        for side, given in (("encoder", encoder.calls[-1]), ("decoder", decoder.calls[-1])):
            out.put(**{f"{side}_labels": int(any(torch.equal(value, ys) for value in given if torch.is_tensor(value)))})
        if variational:
            out.put(mu=values[1], sigma=values[2])
            record_gradients(out, code.sum(), mu=mu, sigma=sigma)

    def check(inputs, evidence):
        pictures = evidence.array("pictures", (BATCH, X_DIM), "run")
        require(np.abs(pictures - inputs["x"]).max() < 1e-6, f"{what} should call self.encoder with xs as they are")
        for side, call in (("encoder", "self.encoder(xs, ys)"), ("decoder", "self.decoder(z, ys=ys)")):
            text = f"{what} should call {call}, with the labels int64 [B], it does not"
            require(not labelled or evidence.number(f"{side}_labels"), text, "ys is left out")
        code = evidence.array("code", code_shape, "run")
        if variational:
            check_draws(what, code, inputs["mu"], np.float64(inputs["sigma"]), "sigma", "a standard deviation")
        else:
            text = f"{what} should decode the encoder's code as it is, yours is another"
            require(np.abs(code - inputs["z"]).max() < 1e-5, text, "noise is added: an AE draws nothing")
        right = {"recon": evidence.array("right", (BATCH, X_DIM), "run")}
        right |= {"mu": inputs["mu"], "sigma": inputs["sigma"]} if variational else {}
        for key, value in right.items():
            got = evidence.array(key, (BATCH, None), "run")
            same = got.shape == value.shape and np.abs(got - value).max() < 1e-4
            text = f"{what} should return {', '.join(right)}; its {key} is something else"
            require(same, text, "the order, or a value that is changed on the way")
        if variational:
            cause = "torch.normal, .sample(), .detach() or no_grad: write z = mu + sigma * eps"
            check_gradients(what, evidence, cause, mu=code_shape, sigma=code_shape)

    return probe, check
