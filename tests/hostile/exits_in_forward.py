# VAEwolabel: crash; Genwithlabel: missing
import sys


class VAE(VAE):
    def forward(self, x, labels=None):
        sys.exit(0)
