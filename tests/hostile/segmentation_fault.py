# VAEwolabel: crash; Genwithlabel: missing
import ctypes


class VAE(VAE):
    def forward(self, x, labels=None):
        ctypes.string_at(0)
