# VAEwolabel: bad_values; Genwithlabel: fault
class VAE(VAE):
    def encode(self, x):
        mu, log_var = super().encode(x)
        return mu * torch.nan, log_var


class GenModel(GenModel):
    def forward(self, x, labels):
        mu, log_var = self.encode(x)
        self.decode(torch.zeros(len(x), 10**6), labels)
        return torch.zeros(len(x), 28, 28), mu, log_var

    def decode(self, z, labels):
        return torch.zeros(len(z), 28, 28)
