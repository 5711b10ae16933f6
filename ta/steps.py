"""Run the parts of a phase in as few processes as can be, and say which of them failed, and by whose fault."""

from ta.sandbox.choose import works_now
from ta.sandbox.wire import clean

FAULTS = (
    *("missing", "unusable", "not_filled_in", "import_error", "checkpoint_error", "bad_shape", "bad_values"),
    *("crash", "timeout", "memory", "output_flood"),
)
STEPS = 6  # times a step's limit: what all the steps of a student may take


class Failed(Exception):
    """A step ended without a result. status: one of FAULTS, infra_error or stopped; for_all: it ended while the
    submission was imported, so that no other step can do better; ours: nothing in the message is of the submission."""

    def __init__(self, status, message, for_all=False, ours=False):
        super().__init__(message)
        self.status, self.message, self.for_all, self.ours = status, message, for_all, ours


class Steps:
    """The worker's calls for one student.

    folder: holds the student's files; files: {name: None, or what is wrong with it}; slot: as Sandbox.run has it.
    cpu_seconds: what the workers used; spent: the seconds that count against the limit of all steps together.
    """

    def __init__(self, folder, files, sandbox, slot):
        self.folder, self.files, self.sandbox, self.slot = folder, files, sandbox, slot
        self.cpu_seconds = self.spent = 0.0

    def run(self, parts, inputs, largest):
        """Run parts in one process; return {number: (report, arrays)} of those that ended well, and {number: Failed}.

        Where one fails that was not the first, it may have been another's doing: it begins a process of its own, and so
        on, so that a fault of one task costs that task only. A task that hangs costs one timeout, not one per part.
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
        """Return the Outcome of a worker. A fault that may not be the submission's is tried once more; if it comes
        back, and an honest submission has none, it is the submission's."""
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
    """Return the Failed of a worker that ended without what it was asked for."""
    report = outcome.records[-1][0] if outcome.records else {}
    if outcome.status != "exited":
        status, message = outcome.status, outcome.message
    elif report.get("status") in FAULTS:
        status, message = report["status"], report.get("message", "")
    else:
        status = "crash"
        message = f"the process ended without a result. {outcome.message} {outcome.output[-300:]}".strip()
    return Failed(status, message, not outcome.imported and not outcome.doubtful, outcome.status != "exited")
