"""Results of a class as `python -m ta grade` leaves them, made up, for what is drawn from them."""

import numpy as np

from grade import bonus, score_terms
from lab.files import write_sealed
from lab.tasks import TASKS
from ta.gradebook import Gradebook
from ta.submissions import Student
from ta.table import overall_status


def make_class(folder, images, count, message="it failed", roster=""):
    """Make a gradebook of students s0000, s0001 ..., with results/; return it and {id: result}.

    images: uint8 [N, 28, 28] to draw pictures from; roster: the text of a CSV. Every tenth student failed the check
    2.3, whose message is given, and their Genwithlabel crashed with that message while it saw hidden pictures.
    """
    (folder / "results").mkdir(parents=True)
    gradebook = Gradebook(folder)
    students = [Student(f"folder s{number:04}", [], f"s{number:04}") for number in range(count)]
    gradebook.register(students, folder / "class", [("notes.txt", "a single file")])
    for name, text in (("roster", roster), ("theory", "id,theory\ns0001,31.5\n")):
        if text:
            (folder / f"given {name}.csv").write_text(text, encoding="utf-8")
            gradebook.remember(name, folder / f"given {name}.csv")
    rng = np.random.default_rng(0)
    results = {}
    for number, student in enumerate(students):
        failed = number % 10 == 0
        tasks = {task: make_task(task, rng, failed, message) for task in TASKS}
        result = {"id": student.id, "submission": f"{student.id}.zip", "status": overall_status(tasks), "tasks": tasks}
        result |= {
            "isolation": "tier A: bubblewrap and seccomp",
            "seconds": 11.2,
            "test_set": "",
            "seen": "",
            "notes": [],
        }
        results[student.id] = result
        write_sealed(folder / "results" / f"{student.id}.json", result)
        drawn = images[rng.integers(len(images), size=176)]
        pictures = {"originals": images[:16], "VAEwolabel_recon": drawn[:16]}
        if not failed:
            pictures |= {"Genwithlabel_recon": drawn[:16], "generated": drawn[16:].reshape(10, 16, 28, 28)}
        np.savez_compressed(folder / "results" / f"{student.id}.npz", **pictures)
    return gradebook, results


def make_task(task, rng, failed, message):
    checks = [
        {"section": one.number, "status": "passed", "points": one.points, "max_points": one.points, "message": ""}
        for one in TASKS[task].sections
    ]
    if failed and task == "VAEwolabel":
        checks[-1] |= {"status": "wrong", "points": 0, "message": message}
    figures = {"status": "ok", "message": "", "private": False, "checks": checks}
    figures["completion"] = TASKS[task].completion - sum(check["max_points"] - check["points"] for check in checks)
    if failed and task == "Genwithlabel":
        return figures | {"status": "crash", "message": message, "private": True, "score": 0.0}
    figures |= {"mse": rng.uniform(0.005, 0.03), "ssim": rng.uniform(0.6, 0.95)}
    if task == "Genwithlabel":
        figures |= {"fid": rng.uniform(1, 9), "fid_full": 8.0, "digit_accuracy": rng.uniform(), "near_copies": 0.0}
    figures["latent_dim"] = int(rng.choice([2, 5, 10, 20, 40, 100]))
    figures["bonus"] = bonus(figures["latent_dim"])
    figures["raw"] = sum(points for points, _ in score_terms(figures, TASKS[task]).values()) * figures["bonus"]
    return figures | {"score": min(figures["raw"], TASKS[task].cap)}
