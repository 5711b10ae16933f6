"""Shared by the probes of sections 2.2 and 3: a model of one task, its inputs, and a record of its results."""

import time

import torch

from checks.inputs import DEFAULT_DIM
from checks.model.watch import Calls, is_pair, watch
from lab.contract import as_pictures, blame, build_model, call, run_forward

STEP_SECONDS = 5  # the longest time for training, even for a huge model
CALM = -40.0  # a log_var without visible effect: sigma is 2e-9


class ModelProbe:
    """A model of one task, and the calls that the probes make. Results are recorded under the name of a step."""

    def __init__(self, module, task, inputs, out):
        self.module, self.task, self.inputs, self.out = module, task, inputs, out
        self.latent_dim = int(inputs["latent_dims"][0])
        self.model = None
        self.calm = False  # whether the noise of sampling in eval mode is removed, so that pictures can be compared

    def choose_width(self):
        """If latent_dim is hard-coded in the layers, use that value, so that other mistakes can still be found."""
        if not self.has_width(0) and self.has_width(3):
            self.latent_dim = DEFAULT_DIM
        self.out.put(latent_dim=self.latent_dim)

    def has_width(self, index):
        """Return whether the model with latent_dims[index] returned a mu of that width."""
        mu = self.out.arrays.get(f"{self.out.prefix}.dim{index}.mu")
        return mu is not None and mu.shape[1] == self.inputs["latent_dims"][index]

    def build(self, latent_dim, seed=0):
        torch.manual_seed(int(self.inputs["seed"]) + seed)
        return build_model(self.module, self.task.name, latent_dim)

    # The inputs are new tensors each time, so that a submission that changes them does not affect the next step.

    def pictures(self, rows=slice(None)):
        return torch.tensor(self.inputs["x"][rows])

    def labels(self, rows=slice(None)):
        return torch.tensor(self.inputs["labels"][rows]) if self.task.conditional else None

    def codes(self, rows=slice(None)):
        return torch.tensor(self.inputs["z"][rows, : self.latent_dim])

    def run_forward(self, rows):
        """Return recon, mu, log_var for some of the pictures, for a training step."""
        return run_forward(self.model, self.module, self.pictures(rows), self.labels(rows))

    def train(self, loss, rate, steps):
        """Minimise loss() → (scalar, whether to stop) with Adam (Kingma and Ba 2015).

        Not with torch.optim, which imports PyTorch's compiler first, and that takes longer than all the checks.
        """
        moments, start = {}, time.thread_time()
        for step in range(1, steps + 1):
            value, done = loss()
            parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            grads = torch.autograd.grad(value, parameters, allow_unused=True)
            with torch.no_grad():
                for parameter, grad in zip(parameters, grads, strict=True):
                    if grad is None:
                        continue
                    first, second = moments.get(parameter, (0.0, 0.0))
                    moments[parameter] = first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
                    scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
                    parameter -= rate * first / (1 - 0.9**step) / scale
            if done or time.thread_time() - start > STEP_SECONDS:
                return

    def forward(self, step, x, labels, model=None, replace=None):
        """Run forward and record, under the step's name:

        recon, mu, log_var    what it returned; if `calm`, log_var is encode's
        encode.mu, encode.log_var    what encode returned, if it was called once and returned two [B, d]
        calls, z, labels_given    the number of calls of decode, and its arguments
        sample    what reparameterize returned if it was called once, else z
        nothing, layers    the method that returned None, and a layer that was created during the call
        training    whether the model was in training mode afterwards

        replace: see watch. Returns the recorded values as a dict of tensors.
        """
        model = model or self.model
        if replace is None and self.calm:
            replace = quieten
        result, calls = {}, Calls()
        with self.out.step(step, self.module, batch=len(x)), watch(model, self.module, calls, replace):
            try:
                recon, mu, log_var = run_forward(model, self.module, x, labels)
                result |= {"recon": recon, "mu": mu, "log_var": log_var, "calls": len(calls.codes)}
            finally:
                if len(calls.encoded) == 1 and calls.encoded[0] is not None:
                    result |= {f"encode.{name}": v for name, v in zip(("mu", "log_var"), calls.encoded[0], strict=True)}
                    if self.calm and "log_var" in result:
                        result["log_var"] = result["encode.log_var"]
                if len(calls.codes) == 1 and isinstance(calls.codes[0], torch.Tensor):
                    result |= {"z": calls.codes[0], "labels_given": int(calls.labels_given[0])}
                if len(calls.sampled) == 1 and isinstance(calls.sampled[0], torch.Tensor):
                    result["sample"] = calls.sampled[0]
                elif "z" in result:
                    result["sample"] = result["z"]
                result["training"] = int(model.training)
                self.out.put(**{f"{step}.{name}": value for name, value in result.items()})
                self.out.put(**{f"{step}.nothing": calls.nothing, f"{step}.encode_returned": calls.returned})
        self.out.put(**{f"{step}.layers": calls.layers})
        if "mu" not in result and not calls.encoded:
            self.encode_alone(step, x, labels, model)
        return result

    def encode_alone(self, step, x, labels, model):
        """If forward does not call encode, for instance because it is not filled in, call encode directly."""
        with self.out.step(f"{step}_alone", self.module, batch=len(x)):
            encoded = call(model.encode, x, labels)
            if is_pair(encoded):
                for name, value in zip(("mu", "log_var"), encoded, strict=True):
                    self.out.put(**{f"{step}.encode.{name}": value})

    def decode(self, step, z, labels, model=None):
        """Run decode and record its pictures under the step's name."""
        model = model or self.model
        what, calls = f"{self.task.class_name}.decode", Calls()
        with self.out.step(step, self.module, batch=len(z)), watch(model, self.module, calls):
            try:
                with blame(what, self.module):
                    recon = call(model.decode, z, labels)
                self.out.put(**{step: as_pictures(recon, len(z), what)})
            finally:
                self.out.put(**{f"{step}.nothing": calls.nothing})
        self.out.put(**{f"{step}.layers": calls.layers})


def quieten(mu, log_var):
    return mu, torch.full_like(log_var, CALM)
