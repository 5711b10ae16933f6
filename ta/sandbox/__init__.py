"""Runs code that nobody trusts, and says how it ended.

    sandbox = choose_sandbox(Limits(timeout=120, memory=4 * 2**30))                     # choose.py
    outcome = sandbox.run({"parts": [...]}, folder, ["submission.py"], {"images": ...})  # base.py

A sandbox is one of four backends, each in a file of its own: bubblewrap, landlock, gvisor and unsafe. The rest is the
same for all of them: the worker runs inside (worker.py), takes away from itself what a model does not need
(confine.py, syscalls.py), and hands arrays out (wire.py) under the eyes of a watchdog (watch.py). Before a backend is
used, it is attacked from inside (attack.py).
"""
