"""Related experiments on the same Trainer: autoencoders side by side, the ELBO of a Bernoulli VAE, CIFAR-10."""
