"""What a result depends on besides the submission and the test set: if it changes, everybody is graded again."""

import hashlib
import json

from lab.cli import ROOT, versions

# ta/review.py, codes.py and copies.py are not listed: no points depend on a flag.
DEPENDS_ON = (
    *("data_utils.py", "inference.py", "model.py", "grade.py"),
    *("dataset/classifier.pth", "dataset/train.npz", "lab/**/*.py", "checks/**/*.py"),
    *("ta/student.py", "ta/steps.py", "ta/collect.py", "ta/sandbox/**/*.py"),
)
BUT_NOT_ON = (  # what only the students' commands, Slurm or the tables need
    *("lab/compare.py", "lab/handin.py", "lab/notebook.py", "lab/output.py", "lab/resume.py", "lab/run.py"),
    *("lab/scores.py", "lab/slurm.py", "lab/tables.py"),
    *("checks/guard.py", "checks/theory.py", "checks/tiny_run.py"),
)


def grader_version(root=ROOT):
    """Return a hash of the library versions and of the files that results depend on."""
    digest = hashlib.sha256(json.dumps(versions()).encode())
    paths = {path for pattern in DEPENDS_ON for path in root.glob(pattern)} - {root / name for name in BUT_NOT_ON}
    for path in sorted(paths):
        digest.update(str(path.relative_to(root)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
