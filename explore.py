"""Explore the latent space of your own model on a page in the browser.

    python explore.py                                  # the newest run; with --task, the newest of that task
    python explore.py --checkpoint_path runs/Genwithlabel/NAME/best.pth
    python explore.py --html page.html                 # instead, one file to share: no Python or server needed

The page is served on this machine only (127.0.0.1), at an address with a random token; Ctrl-C ends the server. Reload
the page after you edit the submission that it shows.
"""

import threading
import webbrowser
from pathlib import Path

from explorer.answers import Explorer
from explorer.export import write_page
from explorer.server import start_server
from lab.checkpoints import load_checkpoint
from lab.cli import LabError, Parser, add_data_argument, default_device, device, number, run_command
from lab.compare import newest_trained
from lab.run import Run, best_of, submission_beside
from lab.tasks import TASKS


def parse_args():
    parser = Parser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, help="which of the two models (default: the checkpoint's)")
    parser.add_argument("--checkpoint_path", type=Path, help="a checkpoint or a run's folder (default: the newest run)")
    parser.add_argument("--submission", type=Path, help="default: the copy beside the checkpoint, else submission.py")
    add_data_argument(parser, "the split whose codes are shown on the map", "--data_path")
    parser.add_argument("--port", type=number(int, 0, below=65536), default=8765, help="if in use, the next free one")
    parser.add_argument("--no_browser", action="store_true", help="only print the address (default: open it)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page to one file and start no server")
    parser.add_argument("--device", type=device, default=default_device(), help="cpu, cuda, cuda:1, mps")
    args = parser.parse_args()
    if args.checkpoint_path is None:  # demos and sweeps lie in deeper folders
        args.checkpoint_path = newest_trained(args.task, everywhere=(False, True)).best
    args.checkpoint_path = best_of(args.checkpoint_path)
    args.submission = args.submission or submission_beside(args.checkpoint_path)
    return args


def complete(args):
    """Add the checkpoint's task to the arguments. Raises LabError if it contradicts them or a file is missing."""
    checkpoint = load_checkpoint(args.checkpoint_path)
    if not args.submission.is_file():
        raise LabError(f"there is no submission at {args.submission.absolute()}: give its file with --submission PATH.")
    stored = checkpoint.get("task") or Run(args.checkpoint_path.parent).task
    stored = stored if isinstance(stored, str) and stored in TASKS else None
    if stored is not None and args.task not in (None, stored):
        raise LabError(
            f"{args.checkpoint_path} was trained with --task {stored}, but you asked for {args.task}: leave out "
            "--task, or give a different --checkpoint_path."
        )
    args.task = args.task or stored
    if args.task is None:
        raise LabError(f"{args.checkpoint_path} does not contain its task: give --task {' or --task '.join(TASKS)}.")


def serve(explorer, args):
    """Serve the page until Ctrl-C."""
    server = start_server(explorer, args.port)
    if args.port not in (0, server.server_port):
        print(f"port {args.port} is in use; using port {server.server_port}")
    print(f"open {server.address}\nCtrl-C ends it", flush=True)
    if not args.no_browser:  # in a thread, because a browser in the terminal would block
        threading.Thread(target=webbrowser.open, args=[server.address], daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("\nstopped")
    finally:
        server.server_close()


def main():
    args = parse_args()
    complete(args)
    explorer = Explorer(args)
    if args.html:
        return write_page(explorer, args.html)
    print(f"{args.checkpoint_path}, with the code of {args.submission}", flush=True)
    answer = explorer.answer("open", {})  # before the browser opens, so that it does not have to wait
    if "error" in answer:
        print(f"the model fails, as the page also shows: {answer['error']}")
    serve(explorer, args)


if __name__ == "__main__":
    run_command(main)
