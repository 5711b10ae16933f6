"""The lab's tasks: everything that differs between them is in this table, and in no other module.

A new task is one entry here, a section of the handout, and its own checks if it needs any.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A section of the handout that check.py checks. checks: a name of CHECKS in checks/model, or "loss" for
    vae_loss."""

    number: str
    title: str
    points: int
    checks: str


@dataclass(frozen=True)
class Task:
    """name: as in --task; class_name: of the submission's model; conditional: whether the model receives the labels
    cap: maximum score; cap_flag: the flag of grade.py that sets a different cap, if there is one
    terms: {term of the score: its maximum points before the bonus}; grade.py has the formulas for SSIM, MSE and FID
    sections: the checked ones; their points are the task's completion points
    """

    name: str
    class_name: str
    conditional: bool
    cap: float
    terms: dict
    sections: tuple
    cap_flag: str = ""

    @property
    def generates(self):
        """Whether the task scores generated pictures."""
        return "FID" in self.terms

    @property
    def completion(self):
        """The completion points."""
        return sum(section.points for section in self.sections)


TASKS = {
    task.name: task
    for task in (
        Task(
            name="VAEwolabel",
            class_name="VAE",
            conditional=False,
            cap=10.0,
            terms={"SSIM": 5.0, "MSE": 5.0},
            sections=(
                Section("2.2.1", "VAE layers", 4, "layers"),
                Section("2.2.2", "VAE encode", 4, "encode"),
                Section("2.2.3", "VAE decode", 4, "decode"),
                Section("2.2.4", "VAE forward", 3, "forward"),
                Section("2.3", "vae_loss", 15, "loss"),
            ),
        ),
        Task(
            name="Genwithlabel",
            class_name="GenModel",
            conditional=True,
            cap=30.0,
            cap_flag="gen_cap",
            terms={"SSIM": 10.0, "MSE": 10.0, "FID": 10.0},
            sections=(Section("3", "GenModel", 20, "model"),),
        ),
    )
}


def all_sections():
    """Return {number: (Section, Task)} for every checked section, in the handout's order."""
    return {section.number: (section, task) for task in TASKS.values() for section in task.sections}
