"""Grade one student: a fresh sandbox for every step, and nothing believed that comes out of it but plain arrays.

checks → per task: encode (sees the pictures) → codes → decode (sees the codes only) → pictures → the metrics, here.
Generating is a step of its own, which sees neither: what it draws can hold nothing of the hidden pictures.
"""

import hashlib
import math
from dataclasses import asdict, dataclass

import numpy as np

from checks.sections import POINTS, judge, make_inputs
from grade import CAPS, GEN_NUM, score_task
from inference import draw_normal
from ta.exchange import clean

CHECKS = {"2.2": "VAEwolabel", "2.3": "VAEwolabel", "3": "Genwithlabel"}  # groups of sections, each probed alone
ARRAYS = {"2.2": "VAE.", "2.3": "loss.", "3": "GenModel."}  # how the names of a group's arrays begin
FAULTS = (
    *("missing", "not_filled_in", "import_error", "checkpoint_error", "bad_shape", "bad_values"),
    *("crash", "timeout", "memory", "output_flood"),
)
WIDEST_CODE = 1024  # wider than the picture is no code
SAMPLES = 16  # reconstructions, and generated pictures of each digit, that are kept for people to look at


class Failed(Exception):
    """A step ended without a result. status: one of FAULTS, infra_error or stopped; for_all: it ended while the
    submission was imported, so that no other step can do better."""

    def __init__(self, status, message, for_all=False):
        super().__init__(message)
        self.status, self.message, self.for_all = status, message, for_all


@dataclass
class HiddenSet:
    """images uint8 [N, 28, 28]; labels uint8 [N]; gen_seed: of the codes to generate from; digest: of the file."""

    images: np.ndarray
    labels: np.ndarray
    gen_seed: int
    digest: str


class Grading:
    """The steps of one student's grading, and what they have found so far.

    folder: holds the student's files; files: {name: None, or what is wrong with it}, as `collect` returns it; slot: a
    number that no other student in progress has. After `run`, `pictures` holds {name: uint8 array} to look at.
    """

    def __init__(self, student_id, folder, files, sandbox, hidden, slot=0):
        self.folder, self.files, self.sandbox, self.hidden, self.slot = folder, files, sandbox, hidden, slot
        self.failed = {}  # task → the failure that ends it
        self.pictures = {}
        self.cpu_seconds = 0.0  # of the workers
        # Not to be known to the student, and the same whenever this student meets this test set.
        secret = hashlib.sha256(f"{hidden.digest} {hidden.gen_seed} {student_id}".encode()).digest()
        self.seed = int.from_bytes(secret[:8], "little")

    def run(self):
        """Return {task: {status, message, private, score, figures ..., completion, checks}}.

        score and completion are points, None if a fault of ours leaves them unknown. private: the message comes from a
        step that had seen hidden pictures, so it is not for the student. Raises Failed only if the sandbox is told to
        stop."""
        if self.files.get("submission.py", "") is not None:
            self.fail_all("missing", self.files.get("submission.py") or "there is no submission.py")
        checks = self.check()
        tasks = {}
        for task in CAPS:
            file = f"{task}.pth"
            if file not in self.files:
                self.failed.setdefault(task, Failed("missing", f"there is no {file}"))
            elif self.files[file] is not None:
                self.failed.setdefault(task, Failed("checkpoint_error", self.files[file]))
            tasks[task] = self.evaluate(task)
            own = [check for check in checks if CHECKS[group_of(check["section"])] == task]
            known = all(check["points"] is not None for check in own)
            tasks[task] |= {"completion": sum(check["points"] for check in own) if known else None, "checks": own}
        return tasks

    def fail_all(self, status, message):
        self.failed = {task: Failed(status, message, for_all=True) for task in CAPS}

    def call(self, job, inputs, largest=0):
        """Return the Outcome of a worker; a fault that is not the submission's is tried once more."""
        for _ in range(2):
            outcome = self.sandbox.run(job, self.folder, inputs, self.slot, largest)
            self.cpu_seconds += outcome.cpu_seconds
            if outcome.status == "stopped":
                raise Failed("stopped", "")
            if outcome.status != "infra_error":
                return outcome
        raise Failed("infra_error", clean(outcome.message))

    def check(self):
        """Return one dict a section: section, status, points (None if unknown), max_points, message."""
        inputs = make_inputs(self.seed)
        arrays, failures = {}, {}
        left = list(CHECKS)
        while left and not any(failure.for_all for failure in self.failed.values()):
            try:
                outcome = self.call({"mode": "checks", "sections": left}, inputs)
            except Failed as failure:
                if failure.status == "stopped":
                    raise
                failures |= dict.fromkeys(left, failure)
                break
            for report, part in outcome.records:
                if left and report.get("section") == left[0] and report.get("status") == "ok":
                    group = left.pop(0)
                    arrays |= {k: v for k, v in part.items() if k.startswith((ARRAYS[group], "import."))}
            if left:
                failure = failure_of(outcome)
                if failure.for_all:
                    self.fail_all(failure.status, failure.message)
                    break
                task = CHECKS[left[0]]
                failures[left.pop(0)] = failure
                if failure.status == "timeout":  # a task that hangs costs one timeout, not one for each step
                    self.failed[task] = failure
                    failures |= {group: failure for group in left if CHECKS[group] == task}
                    left = [group for group in left if CHECKS[group] != task]
        for failure in self.failed.values():
            if failure.for_all:
                failures = dict.fromkeys(CHECKS, failure)
        return self.judge(inputs, arrays, failures)

    def judge(self, inputs, arrays, failures):
        """Return the verdicts on the arrays, and for a group that failed its failure in their place."""
        try:
            results = [asdict(result) for result in judge(inputs, arrays)]
        except Exception as error:
            failure = Failed("infra_error", f"the judge failed: {type(error).__name__}: {error}")
            failures = dict.fromkeys(CHECKS, failure) | failures
            results = [{"section": section, "max_points": most} for section, most in POINTS.items()]
        for result in results:
            failure = failures.get(group_of(result["section"]))
            if failure is not None:
                points = None if failure.status == "infra_error" else 0
                result |= {"status": failure.status, "points": points, "message": clean(failure.message)}
            result["message"] = clean(result["message"])
        return results

    def evaluate(self, task):
        """Return a task's status, message, whether that is private, its figures and score (None if it is unknown)."""
        known = task in self.failed
        try:
            if known:
                raise self.failed[task]
            return {"status": "ok", "message": "", "private": False, **self.score(task)}
        except Failed as failure:
            if failure.status == "stopped":
                raise
            status, message = failure.status, clean(failure.message)
        except Exception as error:
            status, message = "infra_error", clean(f"{type(error).__name__}: {error}")
        score = None if status == "infra_error" else 0.0
        return {"status": status, "message": message, "private": not known, "score": score}

    def score(self, task):
        """Return a task's figures. What encode returns is only ever codes; decode runs where no picture ever was."""
        images, labels = self.hidden.images, self.hidden.labels
        given = {"labels": labels} if task == "Genwithlabel" else {}
        outcome = self.call(
            {"mode": "encode", "task": task}, {"images": images, **given}, len(images) * WIDEST_CODE * 2
        )
        codes = only_array(outcome, "codes")
        if codes.dtype != np.float16 or codes.ndim != 2 or len(codes) != len(images):
            raise Failed("bad_shape", f"expected codes float16 [{len(images)}, latent_dim], got {describe(codes)}")
        if not 1 <= codes.shape[1] <= WIDEST_CODE:
            raise Failed("bad_shape", f"expected codes of width 1 to {WIDEST_CODE}, got {codes.shape[1]}")
        if not np.isfinite(codes).all():
            raise Failed("bad_values", "expected finite codes, got NaN or infinity")
        codes = codes + np.float16(0)  # one zero: the sign of another would be a message

        # In an order that no submission knows: nothing but a code says which picture it stands for.
        order = np.random.default_rng(self.seed).permutation(len(codes))
        inputs = {name: array[order] for name, array in {"codes": codes, **given}.items()}
        outcome = self.call({"mode": "decode", "task": task}, inputs, images.size)
        recon = np.empty_like(images)
        recon[order] = pictures(outcome, "recon", images.shape)
        generated = self.generate(codes.shape[1]) if task == "Genwithlabel" else None
        self.pictures |= {"originals": images[:SAMPLES], f"{task}_recon": recon[:SAMPLES]}
        return score_task(images, labels, recon, codes, generated, CAPS[task])

    def generate(self, latent_dim):
        """Return GEN_NUM pictures of each digit, uint8 [10, GEN_NUM, 28, 28]."""
        shape = (10, GEN_NUM, 28, 28)
        z = draw_normal(latent_dim, GEN_NUM, self.hidden.gen_seed)
        outcome = self.call({"mode": "generate", "task": "Genwithlabel"}, {"z": z}, math.prod(shape))
        generated = pictures(outcome, "generated", shape)
        self.pictures["generated"] = generated[:, :SAMPLES]
        return generated


def group_of(section):
    """Return the group in CHECKS that a section of the handout belongs to."""
    return next(group for group in CHECKS if section.startswith(group))


def failure_of(outcome):
    """Return the Failed of a worker that ended without what it was asked for."""
    report = outcome.records[-1][0] if outcome.records else {}
    if outcome.status != "exited":
        status, message = outcome.status, outcome.message
    elif report.get("status") in FAULTS:
        status, message = report["status"], report.get("message", "")
    else:
        status, message = (
            "crash",
            f"the process ended without a result. {outcome.message} {outcome.output[-300:]}".strip(),
        )
    return Failed(status, message, for_all=not outcome.imported)


def only_array(outcome, name):
    """Return the array `name` of a worker's only record; raises Failed if the worker did not end well."""
    if outcome.status != "exited" or outcome.message or len(outcome.records) != 1:
        raise failure_of(outcome)
    report, arrays = outcome.records[0]
    if report.get("status") != "ok" or name not in arrays:
        raise failure_of(outcome)
    return arrays[name]


def pictures(outcome, name, shape):
    """Return the pictures `name` of a decoding worker; raises Failed if they are none of this shape."""
    array = only_array(outcome, name)
    if array.dtype != np.uint8 or array.shape != tuple(shape):
        raise Failed("bad_shape", f"expected pictures uint8 {list(shape)}, got {describe(array)}")
    return array


def describe(array):
    return f"{array.dtype} {list(array.shape)}"
