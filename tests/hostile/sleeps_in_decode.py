# VAEwolabel: timeout; Genwithlabel: missing
import time


class VAE(VAE):
    def decode(self, z, labels=None):
        time.sleep(1e6)
