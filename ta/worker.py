"""What runs inside a sandbox: it loads a submission, calls it on the inputs that it finds, and returns arrays.

The TA's process starts it with one argument, a job as JSON: mode (checks, encode, decode, generate, attack), task, the
folders `submission` and `inputs`, two file descriptors, and the arguments of `confine`. Nothing that it writes is
trusted.
"""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from checks.sections import probe
from data_utils import set_random_seed
from inference import generate
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
from ta.attack import attack
from ta.confine import confine
from ta.exchange import write_record

WIDEST_GUESS = 784


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    inputs = {path.stem: np.load(path, allow_pickle=False) for path in Path(job["inputs"]).glob("*.npy")}
    result = os.fdopen(job["result_fd"], "wb")
    confinement = job["confine"]
    if confinement is not None:
        confine(bytes.fromhex(confinement.pop("filter")), **confinement)

    os.write(job["progress_fd"], b"r")  # ready: from here on, whatever goes wrong is the submission's
    try:
        if job["mode"] == "attack":
            write_record(result, {"status": "ok"}, {"got": np.array(attack(**job["targets"]))})
        else:
            run(job, inputs, result)
    except BaseException as error:
        report = describe_failure(error)
        report["message"] = report["message"].replace(f"{job['submission']}/", "")
        write_record(result, report, {})
    os._exit(0)  # past the submission's exit handlers and threads


def run(job, inputs, result):
    """Do one mode's work and write its records."""
    submission = Path(job["submission"])
    set_random_seed(0)
    module = load_submission(submission / "submission.py")
    os.write(job["progress_fd"], b"i")  # imported
    set_random_seed(0)
    if job["mode"] == "checks":
        for section in job["sections"]:
            write_record(result, {"status": "ok", "section": section}, probe(module, inputs, [section]))
        return
    model = load_model(module, job["task"], submission / f"{job['task']}.pth")
    labels = inputs.get("labels")
    if job["mode"] == "encode":
        arrays = {"codes": encode_pictures(model, module, inputs["images"], labels)}
    elif job["mode"] == "decode":
        arrays = {"recon": decode_codes(model, module, inputs["codes"], labels)}
    else:
        arrays = {"generated": generate(model, module, inputs["z"], True, batch_size=1000)}
    write_record(result, {"status": "ok"}, arrays)


def load_model(module, task, path):
    """Return the task's model with its checkpoint's weights.

    A checkpoint that does not say its latent_dim is tried with every width that one of its tensors has.
    """
    get_function(module, TASKS[task])
    checkpoint = load_checkpoint(path)
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def build(latent_dim):
        random.setstate(state[0]), np.random.set_state(state[1]), torch.set_rng_state(state[2])
        model = build_model(module, task, latent_dim)
        load_weights(model, checkpoint, path.name)
        return model

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
    if isinstance(error, SubmissionError):
        return {"status": error.kind, "message": str(error)}
    return {"status": "crash", "message": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
