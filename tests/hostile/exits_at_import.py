# VAEwolabel: crash; Genwithlabel: crash
# An exit code of 0 and no result is no pass.
import os

os._exit(0)
