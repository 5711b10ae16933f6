"""A student's phases: what runs together, what is tried again, whose fault it is, and what the student may read."""

import numpy as np
import pytest

from ta import steps
from ta.hidden import HiddenSet
from ta.sandbox.base import Limits, Outcome
from ta.steps import STEPS, Failed, Steps
from ta.student import Grading

VAE, GEN = ({"do": "encode", "task": task} for task in ("VAEwolabel", "Genwithlabel"))
FILES = dict.fromkeys(("submission.py", "VAEwolabel.pth", "Genwithlabel.pth"))


class Scripted:
    """A sandbox in which a function of the parts says how a process ends."""

    def __init__(self, ends):
        self.ends, self.limits, self.calls = ends, Limits(10, 2**30), []

    def run(self, job, folder, names, *others):
        self.calls.append([part["task"] for part in job["parts"]])
        return self.ends(job["parts"])


def ended(*statuses, **more):
    """Return the Outcome of a process that was imported and wrote records of these statuses."""
    records = [({"status": status}, {"codes": np.zeros((3, 2), np.float16)}) for status in statuses]
    return Outcome("exited", **{"started": True, "imported": True, "records": records} | more)


def run(ends, parts=(VAE, GEN)):
    sandbox = Scripted(ends)
    done, failed = Steps(None, FILES, sandbox, 0).run(list(parts), {}, 0)
    return set(done), {number: failure.status for number, failure in failed.items()}, sandbox.calls


def test_what_fails_after_another_part_runs_alone():
    both, one, other = ["VAEwolabel", "Genwithlabel"], ["VAEwolabel"], ["Genwithlabel"]
    assert run(lambda parts: ended("ok", "ok")) == ({0, 1}, {}, [both])
    assert run(lambda parts: ended("ok")) == ({0, 1}, {}, [both, other])
    assert run(lambda parts: ended("bad_shape") if VAE in parts else ended("ok")) == (
        {1},
        {0: "bad_shape"},
        [both, other],
    )
    assert run(lambda parts: ended(*["ok"] * (VAE in parts))) == ({0}, {1: "crash"}, [both, other])
    broken = ended("import_error", imported=False)
    assert run(lambda parts: broken) == (set(), {0: "import_error", 1: "import_error"}, [both])
    slow = Outcome("timeout", "slow", True, True)
    assert run(lambda parts: slow, [VAE, VAE, GEN])[1:] == (
        {0: "timeout", 1: "timeout", 2: "timeout"},
        [[*one, *both], other],
    )


def test_all_steps_of_a_student_have_a_limit_together():
    sandbox = Scripted(lambda parts: Outcome("timeout", "slow", True, True, charged=10.0))
    student = Steps(None, FILES, sandbox, 0)
    for _ in range(STEPS):
        assert student.run([VAE], {}, 0)[1][0].message == "slow"
    assert "all steps together took more than 6 times" in student.run([VAE], {}, 0)[1][0].message
    assert len(sandbox.calls) == STEPS


@pytest.mark.parametrize(("works", "status"), [(True, "crash"), (False, "infra_error")])
def test_a_doubtful_end_is_tried_again_and_an_honest_submission_decides(monkeypatch, works, status):
    monkeypatch.setattr(steps, "works_now", lambda *arguments: works)
    for doubtful in (
        Outcome("infra_error", "the results cannot be read", True, True, doubtful=True),
        Outcome("exited", "the process ended with exit code 137", True, True, doubtful=True),
    ):
        assert run(lambda parts, doubtful=doubtful: doubtful, [VAE]) == (set(), {0: status}, [["VAEwolabel"]] * 2)
    assert run(lambda parts: Outcome("infra_error", "no start"), [VAE])[1] == {0: "infra_error"}


def hidden():
    return HiddenSet(np.zeros((3, 28, 28), np.uint8), np.arange(3, dtype=np.uint8), 0, "digest")


def test_only_messages_of_the_first_phase_are_for_the_student(tmp_path):
    def tell(parts):
        good = [part for part in parts if part["do"] in ("checks", "rehearse")]
        return ended(*["ok"] * len(good), *["crash"] * (len(good) < len(parts)))

    tasks = Grading("ann", tmp_path, FILES, Scripted(tell), hidden()).run()
    assert (tasks["VAEwolabel"]["status"], tasks["VAEwolabel"]["private"]) == ("crash", True)  # it encoded
    assert (tasks["Genwithlabel"]["status"], tasks["Genwithlabel"]["private"]) == ("crash", False)  # it generated


def test_what_is_stored_is_taken_up_only_under_its_key_and_if_it_is_whole(tmp_path):
    sandbox = Scripted(lambda parts: ended("ok" if parts[0]["do"] == "rehearse" else "crash"))

    def advance(phase, key="key"):
        sandbox.calls.clear()
        grading = Grading("ann", tmp_path, FILES, sandbox, hidden())
        grading.advance(phase, tmp_path / "stored.npz", key)
        return len(sandbox.calls) > 0, grading.result()

    assert advance("encode")[1]["VAEwolabel"]["status"] == "infra_error"
    started, before = advance("public")
    assert started and before["VAEwolabel"]["score"] is None and before["Genwithlabel"]["status"] == "crash"
    assert advance("public") == (False, before)
    assert advance("encode")[1]["VAEwolabel"]["private"]
    assert advance("decode")[0] is False
    assert advance("public", "another key") == (True, before)
    sandbox.ends, ends = (lambda parts: Outcome("infra_error", "the disk is full")), sandbox.ends
    assert advance("encode", "another key")[1]["VAEwolabel"]["score"] is None
    sandbox.ends = ends
    assert advance("encode", "another key")[1]["VAEwolabel"]["status"] == "crash"
    (tmp_path / "stored.npz").write_bytes((tmp_path / "stored.npz").read_bytes()[:-100])
    assert advance("public", "another key") == (True, before)


def test_checks_that_could_not_be_judged_are_run_again(monkeypatch, tmp_path):
    def broken(*arguments):
        raise OSError(5, "Input/output error")

    def grade():
        grading = Grading("ann", tmp_path, FILES, Scripted(lambda parts: ended(*["ok"] * len(parts))), hidden())
        grading.advance("public", tmp_path / "stored.npz", "key")
        return grading.result()["VAEwolabel"]

    with monkeypatch.context() as patch:
        patch.setattr("ta.student.judge", broken)
        task = grade()
    assert (task["status"], task["completion"]) == ("infra_error", None) and "Input/output error" in task["message"]
    assert grade()["completion"] == 0, "an honest answer: this sandbox returned nothing"


def test_a_model_whose_codes_are_wider_than_what_it_generated_from_gets_nothing(tmp_path):
    grading = Grading("ann", tmp_path, FILES, None, hidden())
    codes = {"codes": np.ones((3, 4), np.float16)}
    grading.latent_dims = {"Genwithlabel": 4}
    assert grading.codes_of("Genwithlabel", codes).shape == (3, 4)
    grading.latent_dims = {"Genwithlabel": 1}
    with pytest.raises(Failed, match="latent_dim is 1, but forward passes codes of width 4 to decode"):
        grading.codes_of("Genwithlabel", codes)
