"""The program inside a sandbox: it loads a submission, calls it on the given inputs, and returns arrays.

The job arrives on stdin in the format of ta.sandbox.wire, and stdin is closed before the submission is imported. The
results go to the original stdout; what the submission prints goes to stderr. The grader trusts neither.
A job has `parts`, which run one after the other until one fails:

    {"do": "checks", "sections": ["2.3"]}              arrays of checks.sections.probe
    {"do": "rehearse", "task": "VAEwolabel"}           nothing: encodes and decodes the checks' pictures
    {"do": "encode", "task": "VAEwolabel"}             codes
    {"do": "decode", "task": "VAEwolabel"}             recon
    {"do": "generate", "task": ..., "seed": 0, "count": 1000}    generated, and the checkpoint's latent_dim
    {"do": "weights", "task": "VAEwolabel"}            sketches of a checkpoint; the submission is not imported
    {"do": "attack", "targets": {...}}                 what ta.sandbox.attack.attack returns
"""

import errno
import gc
import os
import sys
import tempfile
from pathlib import Path

# ruff: noqa: E402  torch needs a folder for temporary files when it is imported, and there is none
tempfile.tempdir = "/"
gc.disable()  # looking through the modules while they are imported takes a sixth of that time

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from checks.sections import probe
from data_utils import set_random_seed
from inference import draw_normal, generate
from lab.checkpoints import find_model, load_checkpoint
from lab.codes import decode_codes, encode_pictures
from lab.contract import SubmissionError, load_submission
from lab.plots import to_uint8
from lab.tasks import TASKS
from ta.sandbox.attack import attack
from ta.sandbox.confine import confine
from ta.sandbox.weights import sketch_weights
from ta.sandbox.wire import IMPORTED, MAX_TEXT, READY, read_job, write_record


def main():
    gc.enable()
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

    results.write(READY)  # from now on, the submission is responsible for any error
    results.flush()
    try:
        if parts[0]["do"] == "attack":
            write_record(results, {"status": "ok"}, {"got": np.array(attack(**parts[0]["targets"]))})
        elif parts[0]["do"] == "weights":
            results.write(IMPORTED)
            for part in parts:
                checkpoint = load_checkpoint(folder / f"{part['task']}.pth")
                write_record(results, {"status": "ok"}, sketch_weights(checkpoint["model_state_dict"]))
        else:
            run(parts, folder, inputs, results)
    except BaseException as error:
        report = describe_failure(error)
        report["message"] = report["message"].replace(f"{folder}/", "")[:MAX_TEXT]
        write_record(results, report, {})
    os._exit(0)  # skips the submission's exit handlers and threads


def run(parts, folder, inputs, results):
    """Import the submission, do each part, and write a record for each."""
    set_random_seed(0)
    module = load_submission(folder / "submission.py")
    results.write(IMPORTED)
    results.flush()
    for part in parts:
        set_random_seed(0)
        report, arrays = do_part(part, module, folder, inputs)
        write_record(results, {"status": "ok", **report}, arrays)


def do_part(part, module, folder, inputs):
    """Return a part's report, {str: str}, and its arrays."""
    if part["do"] == "checks":
        return {}, probe(module, inputs, part["sections"])
    task = TASKS[part["task"]]
    path = folder / f"{task.name}.pth"
    model, latent_dim = find_model(module, task.name, load_checkpoint(path), path.name)
    if part["do"] == "generate":
        z = draw_normal(latent_dim, part["count"], part["seed"])
        generated = generate(model, module, z, task.conditional, batch_size=1000)
        return {"latent_dim": str(latent_dim)}, {"generated": generated}
    labels = inputs.get("labels") if task.conditional else None
    if part["do"] == "rehearse":
        codes = encode_pictures(model, module, to_uint8(inputs["x"]), labels)
        decode_codes(model, module, codes, labels)
        return {}, {}
    if part["do"] == "encode":
        return {}, {"codes": encode_pictures(model, module, inputs["images"], labels)}
    return {}, {"recon": decode_codes(model, module, inputs["codes"], labels)}


def describe_failure(error):
    """Return a failure as a report: status and message."""
    cause = error.__cause__ or error
    if isinstance(cause, MemoryError) or "DefaultCPUAllocator" in str(cause):
        return {"status": "memory", "message": f"asked for more memory than is allowed: {cause}"}
    hint = ""
    if isinstance(cause, OSError) and cause.errno in HINTS:
        hint = f" ({HINTS[cause.errno]})"
    if isinstance(error, SubmissionError):
        return {"status": error.kind, "message": f"{error}{hint}"}
    return {"status": "crash", "message": f"{type(error).__name__}: {error}{hint}"}


HINTS = {
    errno.EROFS: "a submission cannot write files here, and does not need to: leave that out",
    errno.EPERM: "a submission cannot start processes or use the network here: leave that out",
}


if __name__ == "__main__":
    main()
