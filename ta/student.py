"""Grades one student in three phases, and trusts nothing that comes out of a sandbox except plain arrays.

1. public: the checks, a rehearsal of the later phases on pictures that are not secret, and the generated pictures. The
   submission has not seen any hidden picture yet, so the student may read its messages.
2. encode: sees the hidden pictures, returns codes.
3. decode: sees only the codes, returns pictures; the metrics are computed here, outside.

A whole class finishes one phase before the next begins: everything that students may read is written before anybody's
code sees a hidden picture. `Grading.advance` continues from what an earlier call, or another machine, has stored.
"""

import contextlib
import hashlib
import json
import re
import zipfile
from dataclasses import asdict

import numpy as np

from checks.sections import group_of, judge, make_inputs
from grade import GEN_NUM, score_task
from lab.files import write_whole
from lab.tasks import TASKS, all_sections
from ta.review import review
from ta.sandbox.wire import clean
from ta.steps import Failed, Steps

GROUPS = {number: group_of(*pair) for number, pair in all_sections().items()}  # of sections, each group probed alone
WIDEST_CODE = 1024  # numbers: a code wider than the picture does not compress
NO_GPU = re.compile("NVIDIA|CUDA")  # in torch's message about .cuda() on a machine without a GPU
SAMPLES = 16  # reconstructions, and generated pictures per digit, that are kept for people to look at
PHASES = ("public", "encode", "decode")


class Grading:
    """The phases of one student's grading, and their results so far.

    folder: holds the student's files; files: {name: None, or what is wrong with it}, from `collect`; slot: a number
    that no other student in progress has; gate: the accuracy gate. After `decode_phase`, `pictures` holds {name: uint8
    array} for people to look at.
    """

    def __init__(self, student_id, folder, files, sandbox, hidden, slot=0, gate=None):
        self.files, self.hidden, self.gate = files, hidden, gate
        self.steps = Steps(folder, files, sandbox, slot)
        # Unknown to the student, and the same every time this student is graded on this test set.
        secret = hashlib.sha256(f"{hidden.digest} {hidden.gen_seed} {student_id}".encode()).digest()
        self.seed = int.from_bytes(secret[:8], "little")
        # What one phase leaves for the next, all plain values: see `save`.
        self.phases = []  # finished ones
        self.failures = {}  # task → {status, message, private} of the first step of the task that failed
        self.checks, self.latent_dims, self.metrics = [], {}, {}
        self.arrays = {}  # TASK_generated; TASK_codes
        self.pictures = {}

    def run(self):
        """Go through the phases; return `result()`. Raises Failed only if the sandbox is told to stop."""
        for phase in PHASES[len(self.phases) :]:
            getattr(self, f"{phase}_phase")()
        return self.result()

    def result(self):
        """Return {task: {status, message, private, score, metrics ..., completion, checks}}.

        score and completion are points, None if a fault on our side leaves them unknown. private: the message contains
        output of a submission that had seen hidden pictures, so the student must not read it."""
        tasks, unfinished = {}, {"status": "infra_error", "message": "grading did not finish", "private": True}
        for task in TASKS:
            failure = self.failures.get(task, None if task in self.metrics else unfinished)
            tasks[task] = {"status": "ok", "message": "", "private": False, **self.metrics.get(task, {})}
            if failure:
                tasks[task] = failure | {"score": None if failure["status"] == "infra_error" else 0.0}
            own = [check for check in self.checks if all_sections()[check["section"]][1].name == task]
            known = own and all(check["points"] is not None for check in own)
            tasks[task] |= {"completion": sum(check["points"] for check in own) if known else None, "checks": own}
        return tasks

    def advance(self, phase, path, key):
        """Continue to the end of a phase, from the earlier phases stored in `path`, and store the new state there.

        key: a hash of everything that the phases depend on. What is stored under a different key, or is unreadable, is
        done again, and so is a phase in which the machine was at fault. A later phase never runs the public one.
        """
        self.load(path, key)
        if "public" not in self.phases and phase != "public":
            for task in TASKS:
                self.fail(task, Failed("infra_error", "the checks did not finish: run this again"))
            return
        for name in PHASES[len(self.phases) : PHASES.index(phase) + 1]:
            getattr(self, f"{name}_phase")()
            if any(failure["status"] == "infra_error" for failure in self.failures.values()):
                return
            self.save(path, key)

    def save(self, path, key):
        """Write the results of the phases so far as npz, whole or not at all."""
        state = {name: getattr(self, name) for name in STATE} | {"time": [self.steps.cpu_seconds, self.steps.spent]}
        arrays = {f"{kind}.{name}": array for kind in KEPT for name, array in getattr(self, kind).items()}
        with write_whole(path) as temporary:
            np.savez(temporary, state=json.dumps(state | {"key": key}), **arrays)

    def load(self, path, key):
        """Restore what `save` wrote, if it is complete and has this key."""
        state, arrays = read_stored(path, key)
        if not state:
            return
        self.steps.cpu_seconds, self.steps.spent = state.pop("time")
        for kind in KEPT:
            setattr(self, kind, {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{kind}.")})
        for name, value in state.items():
            setattr(self, name, value)

    # The three phases.

    def public_phase(self):
        """Run the checks, rehearse and generate. The student may read every message of this phase."""
        lacks = self.missing_files()
        parts = [make_checks_part(group) for group in dict.fromkeys(GROUPS.values())]
        parts += [{"do": "rehearse", "task": task} for task in TASKS if task not in lacks]
        generate = {"do": "generate", "count": GEN_NUM, "seed": self.hidden.gen_seed}
        parts += [generate | {"task": name} for name, task in TASKS.items() if task.generates and name not in lacks]
        inputs = make_inputs(self.seed)
        if self.files.get("submission.py", "") is None:
            done, failed = self.steps.run(parts, inputs, 10 * GEN_NUM * 784)
        else:
            done, failed = {}, dict.fromkeys(range(len(parts)), next(iter(lacks.values())))
        self.judge(parts, inputs, done, failed)
        for number, failure in failed.items():
            # A failed check loses its own points, but not those for the hidden pictures.
            is_more = failure.for_all or failure.status in ("timeout", "infra_error")
            if is_more or parts[number]["do"] != "checks":
                for task in TASKS if failure.for_all else [parts[number]["task"]]:
                    self.fail(task, failure)
        for task, failure in lacks.items():
            self.fail(task, failure)
        for number, (report, arrays) in done.items():
            if parts[number]["do"] == "generate":
                self.take_generated(parts[number]["task"], report, arrays)
        self.phases.append("public")

    def encode_phase(self):
        """Let the models encode the hidden pictures, both in one process."""
        images, labels = self.hidden.images, self.hidden.labels
        parts = [{"do": "encode", "task": task} for task in TASKS if task not in self.failures]
        largest = len(images) * WIDEST_CODE * 2 * len(parts)
        done, failed = self.steps.run(parts, {"images": images, "labels": labels}, largest)
        for number, part in enumerate(parts):
            try:
                if number in failed:
                    raise failed[number]
                self.arrays[f"{part['task']}_codes"] = self.codes_of(part["task"], done[number][1])
            except Failed as failure:
                self.fail(part["task"], failure, private=not failure.ours)
        self.phases.append("encode")

    def decode_phase(self):
        """Let the models decode their codes, each in a process of its own, and compute the metrics."""
        images, labels = self.hidden.images, self.hidden.labels
        for task in [task for task in TASKS if task not in self.failures]:
            codes = self.arrays[f"{task}_codes"]
            # In an order that no submission knows: only the code itself says which picture it stands for.
            order = np.random.default_rng(self.seed).permutation(len(codes))
            inputs = {"codes": codes[order]} | ({"labels": labels[order]} if TASKS[task].conditional else {})
            try:
                done, failed = self.steps.run([{"do": "decode", "task": task}], inputs, images.size)
                if failed:
                    raise failed[0]
                recon = np.empty_like(images)
                recon[order] = pictures(done[0][1], "recon", images.shape)
                found = recon, codes, self.arrays[f"{task}_generated"] if TASKS[task].generates else None
                metrics = self.metrics[task] = score_task(TASKS[task], images, labels, *found, self.gate)
                metrics["review"], shown = review(task, images, labels, *found, metrics)
                self.pictures |= {"originals": images[:SAMPLES], f"{task}_recon": recon[:SAMPLES]} | shown
            except Failed as failure:
                self.fail(task, failure, private=not failure.ours)
            except Exception as error:
                self.fail(task, Failed("infra_error", f"{type(error).__name__}: {error}"), private=True)
        generated = [self.arrays.get(f"{task}_generated") for task in TASKS if task not in self.failures]
        if generated := [images[:, :SAMPLES] for images in generated if images is not None]:
            self.pictures["generated"] = np.concatenate(generated)
        self.phases.append("decode")

    # Their building blocks.

    def missing_files(self):
        """Return {task: Failed} of the tasks that lack a file."""
        lacks = {}
        for task in TASKS:
            problem = self.files.get("submission.py", "there is no submission.py")
            if problem is not None:
                lacks[task] = Failed("unusable", problem)
            elif f"{task}.pth" not in self.files:
                lacks[task] = Failed("missing", f"there is no {task}.pth")
            elif self.files[f"{task}.pth"] is not None:
                lacks[task] = Failed("checkpoint_error", self.files[f"{task}.pth"])
        return lacks

    def fail(self, task, failure, private=False):
        """Record the first failure of a task; raise it if it only means that the grader was stopped."""
        if failure.status == "stopped":
            raise failure
        message = explain(failure.message)
        self.failures.setdefault(task, {"status": failure.status, "message": message, "private": private})

    def judge(self, parts, inputs, done, failed):
        """Record the verdicts on the probes' arrays, or the failure of a group whose probes failed."""
        groups = {part["group"]: number for number, part in enumerate(parts) if part["do"] == "checks"}
        failures = {group: failed[number] for group, number in groups.items() if number in failed}
        arrays = {}
        for group, number in groups.items():
            for name, array in done[number][1].items() if number in done else ():
                if name.startswith((f"{group}.", "import.")):
                    arrays[name] = array
        try:
            results = [asdict(result) for result in judge(inputs, arrays)]
        except Exception as error:
            failure = Failed("infra_error", f"the judge failed: {type(error).__name__}: {error}")
            failures = dict.fromkeys(groups, failure) | failures
            for task in TASKS:  # so that the phase is not stored, and the next call runs the checks again
                self.fail(task, failure)
            results = [{"section": n, "max_points": section.points} for n, (section, _) in all_sections().items()]
        for result in results:
            failure = failures.get(GROUPS[result["section"]])
            if failure is not None:
                points = None if failure.status == "infra_error" else 0
                result |= {"status": failure.status, "points": points, "message": failure.message}
            result["status"] = "crash" if NO_GPU.search(result["message"]) else result["status"]
            result["message"] = explain(result["message"])
        self.checks = results

    def take_generated(self, task, report, arrays):
        """Keep the generated pictures, and the latent_dim with which they were generated."""
        try:
            self.arrays[f"{task}_generated"] = pictures(arrays, "generated", (10, GEN_NUM, 28, 28))
            width = report.get("latent_dim", "")
            self.latent_dims[task] = int(width) if width.isascii() and width.isdigit() and len(width) < 9 else 0
        except Failed as failure:
            self.fail(task, failure)

    def codes_of(self, task, arrays):
        """Return the codes of an encoding as float16 [N, latent_dim]; raises Failed if they are not valid."""
        codes, count = arrays.get("codes", np.empty(0)), len(self.hidden.images)
        if codes.dtype != np.float16 or codes.ndim != 2 or len(codes) != count:
            raise Failed("bad_shape", f"expected codes float16 [{count}, latent_dim], got {describe(codes)}")
        if not 1 <= codes.shape[1] <= WIDEST_CODE:
            raise Failed("bad_shape", f"expected codes of width 1 to {WIDEST_CODE}, got {codes.shape[1]}")
        if self.latent_dims.get(task, codes.shape[1]) != codes.shape[1]:
            text = f"the checkpoint's latent_dim is {self.latent_dims[task]}, but forward passes codes of width"
            raise Failed("bad_shape", f"{text} {codes.shape[1]} to decode: make the code as wide as latent_dim")
        if not np.isfinite(codes).all():
            raise Failed("bad_values", "expected finite codes, got NaN or infinity")
        return codes + np.float16(0)  # turns -0.0 into 0.0, because the sign could carry a bit


STATE = ("phases", "failures", "checks", "latent_dims", "metrics")
KEPT = ("arrays", "pictures")


def read_stored(path, key):
    """Return the state and the arrays that `Grading.save` wrote; empty if unreadable, or with a different key."""
    unreadable = contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with unreadable, np.load(path, allow_pickle=False) as stored:
        state = json.loads(str(stored["state"]))
        if state.pop("key") == key and set(state) == {*STATE, "time"}:
            return state, {name: stored[name] for name in stored.files if name != "state"}
    return {}, {}


def stored_phases(path, key):
    """Return the phases in a file of `Grading.save`, none if it is unreadable or has a different key."""
    return read_stored(path, key)[0].get("phases", [])


def make_checks_part(group):
    """Return the part of a worker's job that probes a group of sections."""
    sections = [number for number, own in GROUPS.items() if own == group]
    return {"do": "checks", "group": group, "sections": sections, "task": all_sections()[sections[0]][1].name}


def explain(message):
    """Return a submission's message, bounded, with advice if it complains about a missing GPU."""
    hint = " (Grading has no GPU: leave out .cuda(), and move tensors to the same device with .to(x.device).)"
    return clean(message) + (hint if NO_GPU.search(message) else "")


def pictures(arrays, name, shape):
    """Return the pictures `name` of a part; raises Failed if they are not uint8 of this shape."""
    array = arrays.get(name, np.empty(0))
    if array.dtype != np.uint8 or array.shape != tuple(shape):
        raise Failed("bad_shape", f"expected pictures uint8 {list(shape)}, got {describe(array)}")
    return array


def describe(array):
    return f"{array.dtype} {list(array.shape)}"
