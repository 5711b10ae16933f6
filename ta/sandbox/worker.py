"""What runs inside a sandbox: it loads a submission, calls it on the inputs that it is given, and returns arrays.

The job comes by stdin as ta.sandbox.wire writes it, and stdin is closed before the submission is imported. The results
leave by what was stdout at the start; what the submission prints goes to stderr. Nothing in either is trusted.
A job has `parts`, one after the other, the first that fails being the last:

    {"do": "checks", "section": "2.2"}                 arrays of checks.probes.probe
    {"do": "rehearse", "task": "VAEwolabel"}           nothing: the checks' pictures are encoded and decoded
    {"do": "encode", "task": "VAEwolabel"}             codes
    {"do": "decode", "task": "VAEwolabel"}             recon
    {"do": "generate", "seed": 0, "count": 1000}       generated, and the latent_dim that the checkpoint has
    {"do": "attack", "targets": {...}}                 of ta.sandbox.attack
"""

import errno
import os
import random
import sys
import tempfile
from pathlib import Path

# ruff: noqa: E402  torch asks for a folder for temporary files when it is imported, and there is none
tempfile.tempdir = "/"

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from checks.sections import probe
from data_utils import set_random_seed, to_uint8
from inference import draw_normal, generate
from submission_api import (
    TASKS,
    SubmissionError,
    build_model,
    decode_codes,
    encode_pictures,
    get_function,
    load_checkpoint,
    load_submission,
    load_weights,
)
from ta.sandbox.attack import attack
from ta.sandbox.confine import confine
from ta.sandbox.wire import IMPORTED, MAX_TEXT, READY, read_job, write_record

WIDEST_GUESS = 784


def main():
    torch.set_num_threads(1)
    with os.fdopen(0, "rb", closefd=False) as file:
        job, inputs = read_job(file)
    results = os.fdopen(os.dup(1), "wb")
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    parts, folder = job["parts"], Path(job["submission"])
    filter_bpf = inputs.pop("filter").tobytes()
    if "confine" in job:
        confine(filter_bpf, **job["confine"])

    results.write(READY)  # from here on, whatever goes wrong is the submission's
    results.flush()
    try:
        if parts[0]["do"] == "attack":
            write_record(results, {"status": "ok"}, {"got": np.array(attack(**parts[0]["targets"]))})
        else:
            run(parts, folder, inputs, results)
    except BaseException as error:
        report = describe_failure(error)
        report["message"] = report["message"].replace(f"{folder}/", "")[:MAX_TEXT]
        write_record(results, report, {})
    os._exit(0)  # past the submission's exit handlers and threads


def run(parts, folder, inputs, results):
    """Import the submission, do each part's work, and write a record of each."""
    set_random_seed(0)
    module = load_submission(folder / "submission.py")
    results.write(IMPORTED)
    results.flush()
    for part in parts:
        set_random_seed(0)
        report, arrays = do_part(part, module, folder, inputs)
        write_record(results, {"status": "ok", **report}, arrays)


def do_part(part, module, folder, inputs):
    """Return what a part reports, {str: str}, and its arrays."""
    if part["do"] == "checks":
        return {}, probe(module, inputs, [part["section"]])
    task = part.get("task", "Genwithlabel")
    model, latent_dim = load_model(module, task, folder / f"{task}.pth")
    if part["do"] == "generate":
        z = draw_normal(latent_dim, part["count"], part["seed"])
        generated = generate(model, module, z, conditional=True, batch_size=1000)
        return {"latent_dim": str(latent_dim)}, {"generated": generated}
    labels = inputs.get("labels") if task == "Genwithlabel" else None
    if part["do"] == "rehearse":
        codes = encode_pictures(model, module, to_uint8(inputs["x"]), labels)
        decode_codes(model, module, codes, labels)
        return {}, {}
    if part["do"] == "encode":
        return {}, {"codes": encode_pictures(model, module, inputs["images"], labels)}
    return {}, {"recon": decode_codes(model, module, inputs["codes"], labels)}


def load_model(module, task, path):
    """Return the task's model with its checkpoint's weights, and its latent_dim.

    A checkpoint that does not say its latent_dim is tried with every width that one of its tensors has.
    """
    get_function(module, TASKS[task])
    checkpoint = load_checkpoint(path)
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def build(latent_dim):
        random.setstate(state[0]), np.random.set_state(state[1]), torch.set_rng_state(state[2])
        model = build_model(module, task, latent_dim)
        load_weights(model, checkpoint, path.name)
        return model, latent_dim

    if type(checkpoint.get("latent_dim")) is int:
        return build(checkpoint["latent_dim"])
    tensors = [value for value in checkpoint["model_state_dict"].values() if isinstance(value, torch.Tensor)]
    for width in sorted({size for tensor in tensors for size in tensor.shape if size <= WIDEST_GUESS}):
        try:
            return build(width)
        except SubmissionError as error:
            if error.kind == "not_filled_in":
                raise
    raise SubmissionError(
        f"{path.name} does not say its latent_dim, and no width makes {TASKS[task]} fit its weights: save it with "
        "train.py.",
        "checkpoint_error",
    )


def describe_failure(error):
    """Return a failure as a report: status and message."""
    cause = error.__cause__ or error
    if isinstance(cause, MemoryError) or "DefaultCPUAllocator" in str(cause):
        return {"status": "memory", "message": f"asked for more memory than it may have: {cause}"}
    hint = ""
    if isinstance(cause, OSError) and cause.errno in HINTS:
        hint = f" ({HINTS[cause.errno]})"
    if isinstance(error, SubmissionError):
        return {"status": error.kind, "message": f"{error}{hint}"}
    return {"status": "crash", "message": f"{type(error).__name__}: {error}{hint}"}


HINTS = {
    errno.EROFS: "a submission can write no files here, and needs none: leave that out",
    errno.EPERM: "a submission cannot start processes or use the network here: leave that out",
}


if __name__ == "__main__":
    main()
