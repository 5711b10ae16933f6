"""Runs the parts of a phase in as few processes as possible, and finds out which ones failed and whose fault it is."""

from ta.sandbox.choose import works_now
from ta.sandbox.wire import clean

FAULTS = (
    *("missing", "unusable", "not_filled_in", "import_error", "checkpoint_error", "bad_shape", "bad_values"),
    *("crash", "timeout", "memory", "output_flood"),
)
STEPS = 6  # all the steps of a student together may take this many times the limit per step


class Failed(Exception):
    """A step ended without a result. status: one of FAULTS, infra_error or stopped; for_all: it ended during the import
    of the submission, so every other step would fail too; ours: nothing in the message comes from the submission."""

    def __init__(self, status, message, for_all=False, ours=False):
        super().__init__(message)
        self.status, self.message, self.for_all, self.ours = status, message, for_all, ours


class Steps:
    """The worker calls for one student.

    folder: holds the student's files; files: {name: None, or what is wrong with it}; slot: as in Sandbox.run.
    cpu_seconds: used by the workers; spent: the seconds that count against the limit on all steps together.
    """

    def __init__(self, folder, files, sandbox, slot):
        self.folder, self.files, self.sandbox, self.slot = folder, files, sandbox, slot
        self.cpu_seconds = self.spent = 0.0

    def run(self, parts, inputs, largest):
        """Run parts in one process; return {number: (report, arrays)} for those that succeeded, and {number: Failed}.

        If a part fails that was not the first, an earlier part may be to blame: it is run again as the first of a new
        process, so that a fault affects only its own task. A task that hangs takes one timeout, not one per part.
        """
        left = list(range(len(parts)))
        done, failed = {}, {}
        while left:
            first = left[0]
            try:
                outcome = self.call([parts[number] for number in left], inputs, largest)
            except Failed as failure:
                if failure.status == "stopped":
                    raise
                failed |= dict.fromkeys(left, failure)
                break
            for number, (report, arrays) in zip(list(left), outcome.records, strict=False):
                if report.get("status") != "ok":
                    break
                done[number] = report, arrays
                left.remove(number)
            if not left:
                break
            if left[0] != first:
                continue
            failure = failure_of(outcome)
            failed[left[0]] = failure
            task = parts[left.pop(0)]["task"]
            gone = [n for n in left if failure.for_all or (failure.status == "timeout" and parts[n]["task"] == task)]
            failed |= dict.fromkeys(gone, failure)
            left = [number for number in left if number not in gone]
        return done, failed

    def call(self, parts, inputs, largest):
        """Return the Outcome of a worker. After a fault that may not be the submission's, try once more; if it happens
        again, but not with an honest submission, it is the submission's."""
        names = ["submission.py", *(f"{part['task']}.pth" for part in parts if part["do"] != "checks")]
        names = [name for name in dict.fromkeys(names) if self.files.get(name, "") is None]
        for _ in range(2):
            left = STEPS * self.sandbox.limits.timeout - self.spent
            if left <= 0:
                raise Failed("timeout", f"all steps together took more than {STEPS} times the limit of one")
            job = {"parts": parts}
            outcome = self.sandbox.run(job, self.folder, names, inputs, self.slot, largest, max(1, left))
            self.cpu_seconds += outcome.cpu_seconds
            self.spent += outcome.charged
            if outcome.status == "stopped":
                raise Failed("stopped", "")
            if outcome.status != "infra_error" and not outcome.doubtful:
                return outcome
        if outcome.started and works_now(self.sandbox, self.slot):
            outcome.status = "crash" if outcome.status == "infra_error" else outcome.status
            return outcome
        raise Failed("infra_error", clean(outcome.message))


def failure_of(outcome):
    """Return the Failed for a worker that ended without the requested result."""
    report = outcome.records[-1][0] if outcome.records else {}
    if outcome.status != "exited":
        status, message = outcome.status, outcome.message
    elif report.get("status") in FAULTS:
        status, message = report["status"], report.get("message", "")
    else:
        status = "crash"
        message = f"the process ended without a result. {outcome.message} {outcome.output[-300:]}".strip()
    return Failed(status, message, not outcome.imported and not outcome.doubtful, outcome.status != "exited")
