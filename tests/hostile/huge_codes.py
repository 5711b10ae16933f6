# VAEwolabel: fault; Genwithlabel: missing
class VAE(VAE):
    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        self.decode(torch.zeros(len(x), 10**6))
        return torch.zeros(len(x), 28, 28), mu, log_var

    def decode(self, z, labels=None):
        return torch.zeros(len(z), 28, 28)
