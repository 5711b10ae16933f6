"""The table of scores that grade.py prints."""

from lab.diagnostics import DIAGNOSTICS

ROWS = {  # name of a metric → its title; what is indented does not count
    **{"mse": "MSE", "ssim": "SSIM", "fid": "FID (diagonal)"},
    **{name: f"  {title}" for name, (title, _) in DIAGNOSTICS.items()},
    "accuracy_gate": "accuracy gate on the points for FID",
    **{"latent_dim": "latent_dim", "bonus": "bonus", "raw": "raw", "score": "score"},
}


def print_scores(results, tasks, gains):
    """Print one row per metric and one column per task, and how each score could grow.

    results: {task: {metric: value}}; tasks: {task: Task}; gains: {task: {term: largest possible gain}}.
    """
    print(f"\n{'':36}" + "".join(f"{name:>14}" for name in results))
    gated = any(metrics.get("accuracy_gate") for metrics in results.values())
    for metric, title in ROWS.items():
        if metric == "accuracy_gate" and not gated:
            continue
        values = [metrics.get(metric, "-") for metrics in results.values()]
        cells = (f"{value:>14.4f}" if isinstance(value, float) else f"{value:>14}" for value in values)
        print(f"{title:36}" + "".join(cells))
    print(f"{'of':36}" + "".join(f"{tasks[name].cap:>14.4f}" for name in results) + "\n")
    for name, metrics in results.items():
        left = tasks[name].cap - metrics["score"]
        terms = ", ".join(f"{term} {points:.2f}" for term, points in gains[name].items())
        where = f"{left:.2f} below its cap; largest possible gain per term: {terms}" if left > 0 else "at its cap"
        print(f"{name}: {where}")
