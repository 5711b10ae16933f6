"""A VAE for small colour pictures: a lab with an encoder, a decoder and a loss to fill in, for two backbones."""
