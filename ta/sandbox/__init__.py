"""Runs untrusted code and reports how it ended.

    sandbox = choose_sandbox(Limits(timeout=120, memory=4 * 2**30))                     # choose.py
    outcome = sandbox.run({"parts": [...]}, folder, ["submission.py"], {"images": ...})  # base.py

A sandbox has one of four backends, each in a file of its own: bubblewrap, landlock, gvisor and unsafe. Everything else
is shared: the worker runs inside (worker.py), gives up every right that a model does not need (confine.py, syscalls.py)
and returns arrays (wire.py), while a watchdog supervises it (watch.py). Before a backend is used, it is attacked from
inside (attack.py).
"""
