# VAEwolabel: bad_values; Genwithlabel: missing
class VAE(VAE):
    def encode(self, x):
        mu, log_var = super().encode(x)
        return mu * torch.nan, log_var
