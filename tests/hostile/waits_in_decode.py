# VAEwolabel: timeout; Genwithlabel: timeout
import os
import time


class VAE(VAE):
    def decode(self, z, labels=None):
        time.sleep(1e6)


class GenModel(GenModel):
    def decode(self, z, labels):
        while not os.access(HIDDEN, os.R_OK):
            time.sleep(0.01)
        return torch.zeros(len(z), 28, 28)
