"""Sections 2.2 and 3: the probes of a model in the order in which they run, and the evaluators of each section.

Each module here contains both halves of its checks: probe_* call the submission and record arrays, check_* decide from
these arrays alone and raise WrongError, or return a note.
"""

import torch

from checks.model import decoder, encoder, forward, gradients, labels, layers, own_loss, sampling
from checks.model.evidence import ModelEvidence
from checks.model.probe import ModelProbe

PROBES = (  # name of the step, the probe, its name in messages if it fails itself, whether in training mode
    ("train", forward.probe_training, "a training step", True),
    ("evaluate", encoder.probe_forward, "forward", False),
    ("batches", encoder.probe_batches, "forward", False),
    ("extremes", encoder.probe_extremes, "forward", False),
    ("other_shapes", encoder.probe_other_shapes, "forward", False),
    ("decoder", decoder.probe_decoder, "decode", False),
    ("reload", layers.probe_reload, "load_state_dict", False),
    ("memory", forward.probe_memory, "forward", False),
    ("by_label", labels.probe_labels, "decode", False),
    ("own_loss", own_loss.probe_own_loss, "loss", False),
    ("gradients", gradients.probe_gradients, "a gradient", True),
    ("sampling", sampling.probe_sampling, "sampling", True),
)
FORWARD = (
    forward.check_forward,
    forward.check_training,
    sampling.check_sampling,
    forward.check_batches,
    gradients.check_gradients,
    own_loss.check_own_loss,
)
CHECKS = {
    "layers": (layers.check_built, layers.check_widths, layers.check_weights),
    "encode": (encoder.check_encoder,),
    "decode": (decoder.check_decoder, decoder.check_batches),
    "forward": FORWARD,
}
CHECKS["model"] = (
    *CHECKS["layers"],
    *CHECKS["encode"],
    decoder.check_decoder,
    forward.refuse_memory,
    labels.check_labels,
    decoder.check_batches,
    *FORWARD,
)


def probe_model(module, task, inputs, out):
    """Run every probe of one task's model; the Recorder `out` collects the results."""
    probe = ModelProbe(module, task, inputs, out)
    layers.probe_widths(probe)
    probe.choose_width()
    with out.step("build", module):
        probe.model = probe.build(probe.latent_dim)
    if probe.model is None:
        return
    for name, run, what, training in PROBES:
        probe.model.train(training)
        torch.manual_seed(int(inputs["seed"]) + 1)
        with out.step(name, module, f"{task.class_name}: {what}"):
            run(probe)


def check_model(inputs, arrays, task, checks):
    """Return the notes of some CHECKS on a task's model; raises WrongError or NotFilledInError unless it is right."""
    evidence = ModelEvidence(inputs, arrays, task)
    evidence.raise_for("build")
    return [note for check in CHECKS[checks] if (note := check(evidence))]
