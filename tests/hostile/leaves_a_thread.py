# VAEwolabel: honest; Genwithlabel: missing
# Neither a thread nor an exit handler keeps the worker alive.
import atexit
import threading
import time

threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
