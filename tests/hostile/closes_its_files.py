# VAEwolabel: crash; Genwithlabel: crash
import os

os.closerange(0, 1000)
