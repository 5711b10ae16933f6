"""Grades the one submission in a Gradescope container: python -m ta.gradescope.autograder /autograder

Reads FOLDER/submission and FOLDER/submission_metadata.json, and writes FOLDER/results/results.json in Gradescope's
format (https://gradescope-autograders.readthedocs.io/en/latest/specs/).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in ta/__main__.py

import json
import sys
import tempfile
import time
from pathlib import Path

from checks.result import GOOD
from grade import score_terms
from lab.cli import ROOT, LabError, run_command
from lab.files import write_json
from lab.tasks import TASKS, all_sections
from ta.grader import ClassGrader
from ta.hidden import load_hidden
from ta.report import public_message
from ta.sandbox.base import Limits
from ta.sandbox.choose import choose_sandbox
from ta.submissions import Student
from ta.table import PARTS, flags_of, total


def main():
    start, root = time.monotonic(), Path(sys.argv[1]).resolve()
    settings = json.loads((ROOT / "settings.json").read_text())
    isolation, unsafe, gate = (settings.pop(name) for name in ("isolation", "unsafe_no_sandbox", "accuracy_gate"))
    real = (ROOT / "hidden.npz", root / "results")
    sandbox = choose_sandbox(Limits(**settings), isolation, unsafe, real, alone=True)
    name = read_user(root / "submission_metadata.json")
    student = Student(f"gradescope {name}", [("", "", root / "submission")], id=name)
    with tempfile.TemporaryDirectory() as folder:
        grader = ClassGrader(load_hidden(ROOT / "hidden.npz"), Path(folder), **settings, accuracy_gate=gate)
        grader.grade([student], 1, sandbox)
    result = grader.results[student.id]
    if result["status"] == "infra_error":
        messages = {metrics["message"] for metrics in result["tasks"].values()}
        raise LabError(f"a fault of this machine, not of the submission: run it again. {'; '.join(sorted(messages))}")
    (root / "results").mkdir(exist_ok=True)
    write_json(root / "results" / "results.json", make_results(result, time.monotonic() - start))
    print(f"{result['isolation']}; status {result['status']}")


def read_user(path):
    """Return a name for the submitters, the same in every attempt, so that the checks' inputs are the same."""
    try:
        users = json.loads(path.read_text(encoding="utf-8"))["users"]
        return "-".join(str(user["id"]) for user in users) or "submission"
    except (OSError, ValueError, KeyError, TypeError):
        return "submission"


def make_results(result, seconds):
    """Return Gradescope's results.json for a result. Only its hidden test contains what students may not read."""
    tests, leaderboard = [], []
    for task, metrics in result["tasks"].items():
        for check in metrics["checks"]:
            title = f"{check['section']} {all_sections()[check['section']][0].title}"
            text = f"{check['status']}: {check['message']}".removesuffix(": ")
            tests.append(make_test(title, check["points"], check["max_points"], check["status"] in GOOD, text))
        text = f"{metrics['status']}: {public_message(task, metrics)}"
        if metrics["status"] == "ok":
            terms = score_terms(metrics, TASKS[task]).items()
            terms = [f"{name} {points:.3f} of {max_points:g}" for name, (points, max_points) in terms]
            text = f"({' + '.join(terms)}) x bonus {metrics['bonus']:.4f} = {metrics['raw']:.3f}"
            text += f"; latent_dim {metrics['latent_dim']}, MSE {metrics['mse']:.4f}, SSIM {metrics['ssim']:.4f}"
            text += f", FID {metrics['fid']:.3f}" if "fid" in metrics else ""
            gate = metrics.get("accuracy_gate")
            text += f", digit accuracy {metrics['digit_accuracy']:.3f} with a gate at {gate:g}" if gate else ""
        title, passed = f"{task} on hidden pictures", metrics["status"] == "ok"
        tests.append(make_test(title, metrics["score"], TASKS[task].cap, passed, text))
        leaderboard.append({"name": f"{task} raw", "value": round(metrics.get("raw", 0.0), 4), "order": "desc"})
    messages = [f"{task}: {metrics['status']} {metrics['message']}" for task, metrics in result["tasks"].items()]
    messages += [f"{task}: review: {flag['reason']}" for task, flag in flags_of(result)]
    staff = "\n".join([result["isolation"], f"{result['worker_cpu_seconds']} s of CPU in the sandbox", *messages])
    tests.append({"name": "for the staff", "output": staff, "output_format": "text", "visibility": "hidden"})
    return {
        "score": total(*(result["tasks"][task][part] for task, part in (name.rsplit("_", 1) for name in PARTS))),
        "execution_time": round(seconds),
        "output": "Scored on a test set that stays hidden. The checks are those of check.py.",
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "leaderboard": leaderboard,
        "extra_data": {"isolation": result["isolation"], "grader_version": result["grader_version"]},
    }


def make_test(name, points, max_points, passed, output):
    test = {"name": name, "score": points, "max_score": max_points, "status": "passed" if passed else "failed"}
    return test | {"output": output, "output_format": "text", "visibility": "visible"}


if __name__ == "__main__":
    run_command(main)
