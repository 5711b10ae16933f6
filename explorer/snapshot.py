"""Snapshot: one checkpoint of a student's model, which encodes pictures and decodes codes for the page."""

import math
from functools import cached_property

import numpy as np
import torch

from explorer.plane import describe_dimensions
from lab.checkpoints import find_model, load_checkpoint
from lab.codes import decode_codes, device_of, encode_pictures, labels_tensor
from lab.contract import SubmissionError, first_argument, intercept, load_submission, run_forward, watch_decode
from lab.tasks import TASKS

BATCH = 1000  # pictures per call of the model


class Snapshot:
    """A model with the weights of one checkpoint, in eval mode.

    args: task, submission, device; images uint8 [N, 28, 28] and labels uint8 [N]: the pictures of the map.

    Raises SubmissionError for any error in the submission or the checkpoint. A few pictures and codes are tried at
    once, so that an error appears before the page's first request.
    """

    def __init__(self, path, args, images, labels):
        self.path, self.conditional = path, TASKS[args.task].conditional
        checkpoint = load_checkpoint(path)
        epoch, valid_loss = checkpoint.get("epoch"), checkpoint.get("valid_loss")
        self.epoch = epoch if type(epoch) is int else None
        self.valid_loss = valid_loss if type(valid_loss) is float and math.isfinite(valid_loss) else None
        self.module = load_submission(args.submission)
        self.model, self.latent_dim = find_model(self.module, args.task, checkpoint, path)
        self.model.to(args.device).eval()
        self.images, self.labels = images, labels
        codes = encode_pictures(self.model, self.module, images[:10], self.used(labels[:10]))
        self.decode(np.concatenate([codes, np.zeros((10, self.latent_dim))]), np.resize(np.arange(10), len(codes) + 10))

    def used(self, labels):
        """Return labels as the model expects them: None for a model without."""
        return np.asarray(labels, np.uint8) if self.conditional else None

    def decode(self, codes, labels):
        """Return pictures uint8 [B, 28, 28] of codes [B, latent_dim]; labels [B] are ignored by a model without."""
        return decode_codes(self.model, self.module, np.asarray(codes, np.float32), self.used(labels), BATCH)

    @torch.no_grad()
    def encode(self, images, labels, noise=None):
        """Return mu, log_var and the codes that forward passes to decode, each float32 [N, latent_dim].

        images: uint8 [N, 28, 28]; labels: [N]. The codes are made from the means mu or, with noise [N, latent_dim],
        from mu + sigma * noise. They need not be mu: a model may transform them before decoding (e.g. standardise).
        """
        device, results, labels = device_of(self.model), [], self.used(labels)
        for start in range(0, len(images), BATCH):
            x = torch.as_tensor(images[start : start + BATCH], device=device).float() / 255
            eps = None if noise is None else torch.as_tensor(noise[start : start + BATCH], device=device).float()
            sampled = []

            def sample(method, *args, eps=eps, sampled=sampled, **kwargs):
                mu, log_var = [*args, *kwargs.values()][:2]
                sampled.append(first_argument(args, kwargs))
                return mu if eps is None else mu + eps * (log_var / 2).exp()

            with intercept(self.model, reparameterize=sample), watch_decode(self.model) as captured:
                _, mu, log_var = run_forward(self.model, self.module, x, labels_tensor(labels, start, BATCH, device))
            code = captured[0]
            if not sampled and eps is not None and torch.allclose(code, mu, atol=1e-5):
                code = mu + eps * (log_var / 2).exp()  # the noise is drawn in forward itself
            results.append(torch.stack([mu, log_var, code]).float().cpu().numpy())
        results = np.concatenate(results, axis=1)
        if not np.isfinite(results).all():
            raise SubmissionError(
                f"{type(self.model).__name__}.forward should give a finite mu, log_var and z, got NaN or infinity.",
                "bad_values",
            )
        return results

    @cached_property
    def encoded(self):
        """mu, log_var and codes of the map's pictures, float32 [3, N, latent_dim]."""
        return self.encode(self.images, self.labels)

    @cached_property
    def dimensions(self):
        """The content of each dimension of the code: see describe_dimensions."""
        mu, log_var, codes = self.encoded
        noise = np.random.default_rng(0).standard_normal(mu.shape)
        return describe_dimensions(mu, log_var, codes, self.encode(self.images, self.labels, noise)[2])

    def draw(self, image, label, count, seed):
        """Return draws from q(z|x) of one picture uint8 [28, 28] as codes float32 [count, latent_dim]."""
        noise = np.random.default_rng(seed).standard_normal((count, self.latent_dim))
        return self.encode(np.repeat(image[None], count, axis=0), np.full(count, label), noise)[2]

    def steps(self, image, label):
        """Return the code of a picture, [latent_dim], and its change for a step of one sigma in each dimension of mu,
        [latent_dim, latent_dim]: steps.T @ steps is the covariance of q(z|x) in the space of decode's codes."""
        noise = np.concatenate([np.zeros((1, self.latent_dim)), np.eye(self.latent_dim)])
        codes = self.encode(np.repeat(image[None], len(noise), axis=0), np.full(len(noise), label), noise)[2]
        return codes[0], codes[1:] - codes[0]
