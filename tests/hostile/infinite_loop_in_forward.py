# VAEwolabel: timeout; Genwithlabel: honest
# One task hangs; the other's result must not go with it.
class VAE(VAE):
    def forward(self, x, labels=None):
        while True:
            pass
