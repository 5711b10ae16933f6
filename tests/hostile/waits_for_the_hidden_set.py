# VAEwolabel: timeout; Genwithlabel: missing
import os
import time


class VAE(VAE):
    def decode(self, z, labels=None):
        while not os.access(HIDDEN, os.R_OK):
            time.sleep(0.01)
        return torch.zeros(len(z), 28, 28)
