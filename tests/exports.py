"""Downloads as learning platforms give them, made of small submissions, and a stand-in for grading them."""

import io
import threading
import zipfile

import numpy as np
from graded_class import make_task

from lab.tasks import TASKS

FILES = ("submission.py", "VAEwolabel.pth", "Genwithlabel.pth")


def hand_in(points, *left_out):
    """Return {name: bytes} of a submission that FakeGrading gives `points` in each task."""
    contents = {name: f"weights {name} {points}".encode() for name in FILES} | {
        "submission.py": f"# {points}\n".encode()
    }
    return {name: content for name, content in contents.items() if name not in left_out}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(folder, files):
    """Write {path: bytes} under a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def moodle(folder, name, number, files, end="_"):
    write(folder, {f"{name}_{number}_assignsubmission_file{end}/{path}": content for path, content in files.items()})
    (folder / f"{name}_{number}_assignsubmission_onlinetext{end}").mkdir(exist_ok=True)


def canvas(folder, name, user, upload, files, late=False):
    """Canvas numbers uploads in their order; name: "Schmidt, Anna"."""
    short = "".join(letter for letter in name.lower() if letter.isalnum())
    for count, (path, content) in enumerate(files.items()):
        write(folder, {f"{short}_{'LATE_' if late else ''}{user}_{upload + count}_{path}": content})


def gradescope(folder, people):
    """people: [(submission's number, name, sid, email, files), ...]"""
    text = "---\n"
    for number, name, sid, email, files in people:
        write(folder, {f"assignment_99_export/submission_{number}/{path}": content for path, content in files.items()})
        text += f"submission_{number}:\n  :submitters:\n  - :name: {name}\n    :sid: '{sid}'\n    :email: {email}\n"
        text += f"  :created_at: 2025-01-0{number % 9 + 1} 10:00:00.000000000 Z\n  :score: 1.0\n  :results:\n"
        text += "    output: |\n      submission_1:\n        :submitters:\n        - :name: forged\n  :history: []\n"
    write(folder, {"assignment_99_export/submission_metadata.yml": text.encode()})


def blackboard(folder, name, login, time, files):
    prefix = f"Lab 3 VAE_{login}_attempt_{time}"
    info = f"Name: {name} ({login})\nAssignment: Lab 3 VAE\nDate Submitted: Monday, January 6, 2025 10:00:00 AM CET\n"
    write(folder, {f"{prefix}.txt": info.encode(), **{f"{prefix}_{path}": content for path, content in files.items()}})


class FakeSandbox:
    tier, title = "A", "no sandbox: nothing ran"

    def __init__(self, *arguments):
        self.stop = threading.Event()

    def hand_over(self, folder, slot):
        pass


class FakeGrading:
    """Grades a submission of `hand_in` as the number in it says; stop_after: students until somebody presses Ctrl-C."""

    graded, stop_after, factor = [], None, {}

    def __init__(self, student_id, folder, files, sandbox, hidden, slot, gate=None):
        self.id, self.folder, self.files, self.hidden = student_id, folder, files, hidden
        self.pictures, self.cpu_seconds = {"originals": np.zeros((16, 28, 28), np.uint8)}, 0.0
        self.phases, self.failures, self.steps = [], {}, self

    def advance(self, phase, path, key):
        phases = ["public", "encode", "decode"]
        self.phases = phases[: phases.index(phase) + 1]

    def result(self):
        return self.run()

    def run(self):
        if FakeGrading.stop_after is not None and len(FakeGrading.graded) >= FakeGrading.stop_after:
            raise KeyboardInterrupt
        FakeGrading.graded.append(self.id)
        return {task: self.task(task) for task in TASKS}

    def task(self, task):
        figures = make_task(task, np.random.default_rng(0), False, "")
        if self.files["submission.py"] is not None:
            checks = [check | {"points": 0, "status": "unusable"} for check in figures["checks"]]
            failed = {"status": "unusable", "message": self.files["submission.py"], "completion": 0, "checks": checks}
            return {"private": False, "score": 0.0, **failed}
        if self.files.get(f"{task}.pth", "") is not None:
            kept = {name: figures[name] for name in ("completion", "checks")}
            return {"status": "missing", "message": f"there is no {task}.pth", "private": False, "score": 0.0, **kept}
        points = float((self.folder / "submission.py").read_text()[2:])
        return figures | {"score": points * FakeGrading.factor.get(self.hidden.digest, 1.0)}
