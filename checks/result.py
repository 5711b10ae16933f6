"""The verdict on a section of submission.py or a function of theory.py, and the table of verdicts."""

import json
import textwrap
from dataclasses import asdict, dataclass

PASSED, NOTE, NOT_FILLED_IN, WRONG = "passed", "passed with a note", "not filled in", "wrong"
GOOD = (PASSED, NOTE)  # with full points


@dataclass
class Result:
    """section: of the handout; name: its title, or the function; status: one of the four above; message: empty if it
    passed without a note. Optional sections have no points."""

    section: str
    name: str
    status: str
    points: int = 0
    max_points: int = 0
    message: str = ""


def total(results):
    """Return the points and the maximum points of results."""
    return sum(result.points for result in results), sum(result.max_points for result in results)


def print_results(results, seed):
    """Print one row per Result with its message below; a message that was already printed is not repeated."""
    width = max(22, *(len(result.name) + 9 for result in results))
    print(f"{'section':<{width}}{'status':<20}points")
    seen = {}
    for result in results:
        points = f"{result.points:>2} of {result.max_points}" if result.max_points else "optional, no points"
        print(f"{f'{result.section:<6}{result.name}':<{width}}{result.status:<20}{points}")
        message = result.message
        if message in seen:
            message = f"the same as in {seen[message]}"
        elif message:
            seen[message] = result.section
        for part in message.replace(" Likely cause:", "\nLikely cause:").splitlines():
            print(textwrap.fill(part, 110, initial_indent=" " * 6, subsequent_indent=" " * 8))
    points, max_points = total(results)
    if max_points:
        print(f"{'':<{width + 20}}{points:>2} of {max_points}")
    print(f"seed {seed}: --seed {seed} repeats exactly this check")


def print_json(results, submission, seed, kind, stream):
    """Print results as JSON, under the name `kind`: sections or functions."""
    points, max_points = total(results)
    content = {"submission": str(submission), "seed": seed, kind: [asdict(result) for result in results]}
    content |= {"points": points, "max_points": max_points} if max_points else {}
    print(json.dumps(content, indent=2, ensure_ascii=False), file=stream)
