# VAEwolabel: crash; Genwithlabel: crash
# A segmentation fault, and an exit code of 0 without a result.
import ctypes
import sys


class VAE(VAE):
    def forward(self, x, labels=None):
        ctypes.string_at(0)


class GenModel(GenModel):
    def forward(self, x, labels):
        sys.exit(0)
