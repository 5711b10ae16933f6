"""The probing half of the checks: call a submission on given inputs and return what came back, as plain arrays.

A submission's code runs here and nowhere else in the checks; nothing here decides anything. `sections.py` is the door.
"""

import contextlib
import time
import traceback
import types

import numpy as np
import torch

from submission_api import (
    TASKS,
    SubmissionError,
    as_pictures,
    blame,
    build_model,
    call,
    describe,
    get_function,
    load_submission,
    run_forward,
    watch_decode,
)

BATCH = 97  # odd, and no size that a submission could have in mind
DEFAULT_DIM = 20  # of the handout: what a latent_dim written into the layers usually is
LOSS_CASES = 5  # in the last two every log_var is positive
LARGE_CODE = 1000  # far outside N(0, I), and well inside float16
REPEATS = 4  # forwards in training mode, to measure how z is drawn
TWINS = 24  # pictures that stand twice in the batch of those forwards
STEPS = 10  # training steps before anything is measured: layers that start at zero wake up
STEP_SECONDS = 1.2  # ... but no longer than this
LARGEST = 2**22  # elements of an array that is brought back
WHAT = {"train": "a training step", "reload": "load_state_dict", "own_loss": "loss", "gradients": "a gradient"}
METHODS = ("__init__", "encode", "reparameterize", "decode", "forward", "loss")


class Recorder:
    """Collects arrays by name; what fails in a step is written down as text and the next step goes on."""

    def __init__(self, prefix, arrays):
        self.prefix = prefix
        self.arrays = arrays

    def put(self, **values):
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                value = value.detach().cpu()
                value = (value.float() if value.is_floating_point() else value).numpy()
            value = np.array(value)
            if value.size <= LARGEST and value.dtype.kind in "fiuU":
                self.arrays[f"{self.prefix}.{name}"] = value

    @contextlib.contextmanager
    def step(self, name, module, what=None):
        """Run a block, which is `what` to the student; an error of the submission becomes NAME.error (its text),
        NAME.kind and NAME.where (the method that failed)."""
        try:
            with blame(what or name, module):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            kind = error.kind if isinstance(error, SubmissionError) else "crash"
            self.put(**{f"{name}.error": str(error)[:600], f"{name}.kind": kind, f"{name}.where": blamed_method(error)})


def blamed_method(error):
    """Return the name of the innermost method of the model, or of vae_loss, that an error passed through, or ""."""
    while error.__cause__ is not None:
        error = error.__cause__
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_name
        owner = type(frame.f_locals.get("self")).__name__
        if name == "vae_loss" or (name in METHODS and owner in TASKS.values()):
            found = name
    return found


def probe(submission, inputs, sections=None):
    """Run a submission on the inputs and return a flat dict of plain arrays (numbers and unicode text, no objects).

    submission: a path or a module of load_submission; inputs: of make_inputs; sections: only what these need (all).
    Nothing that the submission raises gets out, other than KeyboardInterrupt.
    """
    arrays = {}
    if not isinstance(submission, types.ModuleType):
        try:
            submission = load_submission(submission)
        except SubmissionError as error:
            Recorder("submission", arrays).put(**{"import.error": str(error)[:600], "import.kind": error.kind})
            return arrays
    torch_state = torch.get_rng_state()
    for task, prefix, own in (("VAEwolabel", "VAE", "2.2"), ("Genwithlabel", "GenModel", "3")):
        if sections is None or any(section.startswith(own) for section in sections):
            ModelProbe(submission, task, inputs, Recorder(prefix, arrays)).run()
    if sections is None or any(section.startswith("2.3") for section in sections):
        probe_loss(submission, inputs, Recorder("loss", arrays))
    torch.set_rng_state(torch_state)
    return arrays


class ModelProbe:
    """Probes the model of one task: each method runs one step and brings its arrays back under the step's name."""

    def __init__(self, module, task, inputs, out):
        self.module, self.task, self.inputs, self.out = module, task, inputs, out
        self.latent_dim = int(inputs["latent_dims"][0])
        self.model = None

    def run(self):
        for index, latent_dim in enumerate(self.inputs["latent_dims"]):
            with self.out.step(f"dim{index}", self.module):
                model = self.build(int(latent_dim)).eval()
                self.out.put(**{f"dim{index}.parameters": len(list(model.parameters()))})
                self.forward(f"dim{index}", self.pictures(range(3)), self.labels(range(3)), model)
        if not self.has_width(0) and self.has_width(3):
            self.latent_dim = DEFAULT_DIM  # a latent_dim in the layers is one mistake: the others can still be seen
        self.out.put(latent_dim=self.latent_dim)
        with self.out.step("build", self.module):
            self.model = self.build(self.latent_dim)
        if self.model is None:
            return
        steps = (
            self.train, self.evaluate, self.change_batch, self.try_extremes, self.decode_alone, self.reload,
            self.change_labels, self.look_closer, self.own_loss, self.gradients, self.sample,
        )  # fmt: skip
        for step in steps:
            self.model.train(step in (self.train, self.gradients, self.sample))
            torch.manual_seed(int(self.inputs["seed"]) + 1)
            what = f"{TASKS[self.task]}: {WHAT.get(step.__name__, 'the check')}"
            with self.out.step(step.__name__, self.module, what):
                step()

    def has_width(self, index):
        """Tell whether the model of latent_dims[index] gave a mu of that width."""
        mu = self.out.arrays.get(f"{self.out.prefix}.dim{index}.mu")
        return mu is not None and mu.shape[1] == self.inputs["latent_dims"][index]

    def build(self, latent_dim, seed=0):
        torch.manual_seed(int(self.inputs["seed"]) + seed)
        return build_model(self.module, self.task, latent_dim)

    # The inputs are fresh tensors each time, so that a submission that changes them does not change the next step's.

    def pictures(self, rows=slice(None)):
        return torch.tensor(self.inputs["x"][rows])

    def labels(self, rows=slice(None)):
        return torch.tensor(self.inputs["labels"][rows]) if self.task == "Genwithlabel" else None

    def codes(self, rows=slice(None)):
        return torch.tensor(self.inputs["z"][rows, : self.latent_dim])

    def forward(self, step, x, labels, model=None):
        """Run forward; record recon, mu, log_var, calls (of decode) and, if there was one, z. Returns what it got."""
        model = model or self.model
        result = {}
        with self.out.step(step, self.module):
            with watch_decode(model) as captured:
                recon, mu, log_var = run_forward(model, self.module, x, labels)
            result = {"recon": recon, "mu": mu, "log_var": log_var, "calls": len(captured)}
            if len(captured) == 1 and isinstance(captured[0], torch.Tensor):
                result["z"] = captured[0]
            self.out.put(**{f"{step}.{name}": value for name, value in result.items()})
        return result

    def decode(self, step, z, labels, model=None):
        """Run decode and record its pictures under the step's name."""
        with self.out.step(step, self.module):
            what = f"{TASKS[self.task]}.decode"
            with blame(what, self.module):
                recon = call((model or self.model).decode, z, labels)
            self.out.put(**{step: as_pictures(recon, len(z), what)})

    def train(self):
        """A few steps of Adam on the closed form, whatever vae_loss is."""
        optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        start = time.perf_counter()
        for _ in range(STEPS):
            recon, mu, log_var = run_forward(self.model, self.module, self.pictures(range(32)), self.labels(range(32)))
            kl = torch.distributions.kl_divergence(
                torch.distributions.Normal(mu, (log_var / 2).exp(), validate_args=False),
                torch.distributions.Normal(0.0, 1.0),
            )
            loss = ((recon - self.pictures(range(32))) ** 2).sum() + kl.sum()
            optimizer.zero_grad()
            (loss / 32).backward()
            optimizer.step()
            if time.perf_counter() - start > STEP_SECONDS:
                break

    @torch.no_grad()
    def evaluate(self):
        """Forward in eval mode, twice."""
        x, labels = self.pictures(), self.labels()
        self.forward("eval", x, labels)
        self.out.put(**{"eval.x_after": x})
        if labels is not None:
            self.out.put(**{"eval.labels_after": labels})
        self.forward("again", self.pictures(), self.labels())

    @torch.no_grad()
    def change_batch(self):
        """Some of the pictures in a batch of their own, then one."""
        rows = self.inputs["rows"]
        self.forward("part", self.pictures(rows), self.labels(rows))
        self.forward("single", self.pictures(range(1)), self.labels(range(1)))

    @torch.no_grad()
    def try_extremes(self):
        """A black picture, a white one, and pictures in 0..255."""
        x = self.pictures(range(5))
        x[0], x[1], x[2:] = 0, 1, x[2:] * 255
        self.forward("extreme", x, self.labels(range(5)))

    @torch.no_grad()
    def decode_alone(self):
        """Decode codes that the judge knows: a batch, a part of it, one, large ones, and one moved along each axis."""
        z = self.codes()
        self.decode("decoded", z, self.labels())
        self.out.put(z_after=z)
        self.decode("decoded_again", self.codes(), self.labels())
        rows = self.inputs["rows"]
        self.decode("decoded_part", self.codes(rows), self.labels(rows))
        self.decode("decoded_single", self.codes(range(1)), self.labels(range(1)))
        self.decode("decoded_large", self.codes(rows) * LARGE_CODE, self.labels(rows))
        moved = self.codes([0] * (2 * self.latent_dim + 1))
        steps = LARGE_CODE * torch.eye(self.latent_dim)
        moved[1:] += torch.cat([steps, -steps])
        self.decode("decoded_moved", moved, self.labels([0] * len(moved)))

    @torch.no_grad()
    def reload(self):
        """Put the weights into a second model, which has seen no picture; let it decode the first one's codes."""
        copy = self.build(self.latent_dim, seed=2).eval()
        copy.load_state_dict(self.model.state_dict())
        rows = range(20)
        z = self.forward("reloaded_from", self.pictures(rows), self.labels(rows)).get("z")
        self.forward("between", self.pictures(range(40, 60)), self.labels(range(40, 60)))
        if z is not None:
            self.decode("reloaded_decode", z, self.labels(rows), copy)
        self.forward("reloaded", self.pictures(rows), self.labels(rows), copy)

    @torch.no_grad()
    def change_labels(self):
        """Three codes as each digit: in one mixed batch, and a batch a digit; and the pictures with other labels."""
        if self.labels() is None:
            return
        self.forward("relabelled", self.pictures(), (self.labels() + 1) % 10)
        for digit in range(10):
            self.decode(f"digit{digit}", self.codes(range(3)), torch.full((3,), digit))
        codes = self.codes(range(3)).repeat(10, 1)
        self.decode("digits_mixed", codes, torch.arange(10).repeat_interleave(3))

    @torch.no_grad()
    def look_closer(self):
        """Where forward or decode failed, try what would explain it."""
        rows = range(3)
        if f"{self.out.prefix}.eval.mu" not in self.out.arrays:
            with self.out.step("encoded", self.module):
                mu, log_var = call(self.model.encode, self.pictures(), self.labels())
                self.out.put(**{"encoded.mu": mu, "encoded.log_var": log_var})
            for name, shape in (("as_channels", (3, 1, 28, 28)), ("as_rows", (3, 784))):
                self.forward(name, self.pictures(rows).reshape(shape), self.labels(rows))
        if f"{self.out.prefix}.decoded" not in self.out.arrays and self.labels() is not None:
            self.decode("decoded_number", self.codes(range(1)), 3)

    def own_loss(self):
        """The model's own loss, of a batch and of the same batch twice."""
        if not hasattr(self.model, "loss"):
            return
        self.out.put(own_loss_defined=1)
        for name, rows in (("once", [*range(24)]), ("twice", [*range(24)] * 2)):
            torch.manual_seed(int(self.inputs["seed"]))
            with blame(f"{TASKS[self.task]}.loss", self.module):
                value = self.model.loss(self.pictures(rows), self.labels(rows), 0.5)
            self.out.put(**{f"own_loss_returned_{name}": describe(value)})
            if isinstance(value, torch.Tensor):
                self.out.put(**{f"own_loss_{name}": value})

    def gradients(self):
        """What each row of each parameter gets from a random weighting of mu, log_var, z and recon: the norm of its
        gradient. A row belongs to one output of its layer, so two heads in one layer are told apart."""
        rows = range(32)
        with watch_decode(self.model) as captured:
            recon, mu, log_var = run_forward(self.model, self.module, self.pictures(rows), self.labels(rows))
        outputs = {"mu": mu, "log_var": log_var, "recon": recon, "z": captured[0] if len(captured) == 1 else None}
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for name, output in outputs.items():
            grads = [None] * len(parameters)
            if isinstance(output, torch.Tensor) and output.requires_grad:
                target = (output * torch.randn(output.shape)).sum()
                grads = torch.autograd.grad(target, parameters, retain_graph=True, allow_unused=True)
            norms = [
                (torch.zeros_like(p) if g is None else g).reshape(len(p) if p.ndim else 1, -1).norm(dim=1)
                for g, p in zip(grads, parameters, strict=True)
            ]
            self.out.put(**{f"gradient_{name}": torch.cat(norms)})

    def sample(self):
        """Draw z in training mode, after steps that pull log_var apart so that its use can be told."""
        optimizer = torch.optim.Adam(self.model.parameters(), 0.02)
        start = time.perf_counter()
        with contextlib.suppress(RuntimeError):  # a log_var without gradient stays as it is
            for _ in range(STEPS):
                _, _, log_var = run_forward(self.model, self.module, self.pictures(range(32)), self.labels(range(32)))
                wanted = torch.tensor([2.0, -2.0]).repeat(log_var.shape[1])[: log_var.shape[1]]
                optimizer.zero_grad()
                ((log_var - wanted) ** 2).sum().backward()
                optimizer.step()
                if time.perf_counter() - start > STEP_SECONDS:
                    break
        rows = [*range(TWINS)] * 2
        with torch.no_grad():
            draws = [self.forward("draw", self.pictures(rows), self.labels(rows)) for _ in range(REPEATS)]
        if all("z" in draw for draw in draws):
            self.out.put(**{f"draws_{name}": torch.stack([d[name] for d in draws]) for name in ("mu", "log_var", "z")})


def probe_loss(module, inputs, out):
    """Call vae_loss on each loss case in several ways (loss.values [case, way]), once with gradients, once on
    extremes."""

    def loss(recon, x, mu, log_var, var):
        value = get_function(module, "vae_loss")(recon, x, mu, log_var, var=var)
        if not isinstance(value, torch.Tensor):
            out.put(returned=describe(value))
            raise SubmissionError(f"vae_loss must return a scalar tensor, got {describe(value)}.", "bad_shape")
        out.put(shape=np.array(value.shape, np.int64))
        return value.double().sum()

    def ways(x, recon, other, mu, log_var, var):
        """mu = 0 and log_var = 1 where only the reconstruction is of interest."""
        zero, one = torch.zeros_like(mu), torch.ones_like(log_var)
        wider = zero.repeat(1, 3), one.repeat(1, 3)
        twice = [torch.cat([value, value]) for value in (recon, x, mu, log_var)]
        return [
            (recon, x, mu, log_var, var),
            (recon, x, zero, one, var),
            (x, x, zero, one, var),
            (other, x, zero, one, var),
            ((x + recon) / 2, x, zero, one, var),
            (recon, x, zero, one, 3 * var),
            (x, x, zero, one, 3 * var),
            (x, x, *wider, var),
            (*twice, var),
        ]

    def case(k):
        tensors = [torch.tensor(inputs[f"loss.{k}.{name}"]) for name in ("x", "recon", "other", "mu", "log_var")]
        return [*tensors, float(inputs[f"loss.{k}.var"])]

    with out.step("values", module, "vae_loss"):
        out.put(values=np.array([[float(loss(*clones(way))) for way in ways(*case(k))] for k in range(LOSS_CASES)]))
    with out.step("gradient", module, "the gradient of vae_loss"):
        x, recon, _, mu, log_var, var = case(0)
        leaves = [tensor.requires_grad_() for tensor in (recon, mu, log_var)]
        value = loss(*clones((recon, x, mu, log_var, var)))
        if value.requires_grad:
            names = ("gradient_recon", "gradient_mu", "gradient_log_var")
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            out.put(
                **{
                    name: torch.zeros_like(leaf) if grad is None else grad
                    for name, leaf, grad in zip(names, leaves, grads, strict=True)
                }
            )
    with out.step("extreme", module, "vae_loss"):
        corners = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(2, 196).reshape(2, 28, 28)
        pictures = torch.tensor([0.0, 1.0]).repeat(2, 392).reshape(2, 28, 28)
        large = torch.tensor([[30.0, -30.0], [-30.0, 0.0]])
        out.put(extreme=float(loss(corners, pictures, large, large, 0.5)))
    with out.step("in_place", module, "vae_loss"):
        x, recon, _, mu, log_var, var = case(1)
        loss(recon, x, mu, log_var, var)
        out.put(after_recon=recon, after_x=x, after_mu=mu, after_log_var=log_var)


def clones(arguments):
    return [argument.clone() if isinstance(argument, torch.Tensor) else argument for argument in arguments]
