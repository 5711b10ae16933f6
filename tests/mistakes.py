"""Wrong submissions: each is correct/base.py with one mistake in it, and what the checks must say about it.

A new one takes four lines: its name; the section that is wrong; words of the message; what is replaced in base.py by
what, line by line (the text on the left stands in base.py once).
"""

from pathlib import Path

BASE = Path(__file__).resolve().parent / "correct" / "base.py"

MISTAKES = {
    # The layers and the encoder of the VAE.
    "latent_dim_hard_coded": (
        *("2.2.1", "latent_dim hard-coded"),
        {
            "self.mu = nn.Linear(hidden_dim, latent_dim)": "self.mu = nn.Linear(hidden_dim, 20)",
            "self.log_var = nn.Linear(hidden_dim, latent_dim)": "self.log_var = nn.Linear(hidden_dim, 20)",
            "nn.Linear(latent_dim, hidden_dim)": "nn.Linear(20, hidden_dim)",
        },
    ),
    "layers_in_list": (
        *("2.2.1", "missing from the state_dict"),
        {
            "self.widen = nn.Linear(latent_dim, hidden_dim)": "self.layers = [nn.Linear(latent_dim, hidden_dim)]",
            "self.widen(z)": "self.layers[0](z)",
        },
    ),
    "no_super": (
        "2.2.1",
        "super().__init__() is missing",
        {"200):\n        super().__init__()\n        self.hidden": "200):\n        self.hidden"},
    ),
    "misspelled_layer": ("2.2.2", "__init__ defines no hiden", {"self.hidden(x": "self.hiden(x"}),
    "batch_dependent": (
        "2.2.2",
        "depends on the rest of the batch",
        {"return self.mu(h),": "h = h - h.mean(0)\n        return self.mu(h),"},
    ),
    "cuda_hard_coded": (
        "2.2.2",
        "a GPU is written into the code",
        {"torch.relu(self.hidden(x.": "torch.relu(self.hidden(x.cuda()."},
    ),
    "input_in_place": (
        "2.2.2",
        "changed in place",
        {"h = torch.relu(self.hidden": "x -= 0.1307\n        h = torch.relu(self.hidden"},
    ),
    "mu_ignores_x": (
        "2.2.2",
        "mu should depend on x",
        {"self.hidden(x.flatten(1))": "self.hidden(torch.ones_like(x).flatten(1))"},
    ),
    "mu_through_relu": (
        "2.2.2",
        "an activation (ReLU, sigmoid, softplus, exp) after mu's last layer",
        {"self.mu(h), self.log_var(h)": "torch.relu(self.mu(h)), self.log_var(h)"},
    ),
    "log_var_through_relu": (
        "2.2.2",
        "an activation (ReLU, sigmoid, softplus, exp) after log_var's last layer",
        {"self.log_var(h)": "torch.relu(self.log_var(h))"},
    ),
    "log_var_through_softplus": (
        "2.2.2",
        "after log_var's last layer",
        {"self.log_var(h)": "nn.functional.softplus(self.log_var(h))"},
    ),
    "one_head_twice": (
        "2.2.2",
        "calls the same layer twice",
        {"self.mu(h), self.log_var(h)": "self.mu(h), self.mu(h)"},
    ),
    "layer_in_encode": (
        "2.2.2",
        "creates nn.Linear each time",
        {"self.mu(h), self.log_var(h)": "self.mu(h), nn.Linear(200, self.mu.out_features)(h)"},
    ),
    "encode_without_return": (
        "2.2.2",
        "its return is missing",
        {"return self.mu(h), self.log_var(h)": "self.mu(h), self.log_var(h)"},
    ),
    "needs_channels": (
        *("2.2.2", "it needs [B, 1, 28, 28]"),
        {
            "self.hidden = nn.Linear(784, hidden_dim)": "self.conv = nn.Conv2d(1, 8, 3, stride=2)\n        self.hidden = nn.Linear(8 * 13 * 13, hidden_dim)",
            "self.hidden(x.flatten(1))": "self.hidden(torch.relu(self.conv(x)).flatten(1))",
        },
    ),
    # Its decoder.
    "decode_ignores_z": ("2.2.3", "decode ignores z", {"self.widen(z)": "self.widen(torch.ones_like(z))"}),
    "missing_sigmoid": ("2.2.3", "missing sigmoid", {"torch.sigmoid(self.pixels(h))": "self.pixels(h)"}),
    "nan_for_large": (
        "2.2.3",
        "overflows",
        {"torch.sigmoid(self.pixels(h))": "(self.pixels(h).exp() / (1 + self.pixels(h).exp()))"},
    ),
    "picture_range_255": (
        "2.2.3",
        "0..255",
        {"return torch.sigmoid(self.pixels": "return 255 * torch.sigmoid(self.pixels"},
    ),
    "picture_range_tanh": (
        "2.2.3",
        "tanh gives [-1, 1]",
        {"torch.sigmoid(self.pixels(h))": "torch.tanh(self.pixels(h))"},
    ),
    "unfilled_decode": (
        "2.2.3",
        "2.2.3 is not filled in yet",
        {"h = torch.relu(self.widen(z))": 'raise NotImplementedError("2.2.3 is not filled in yet")'},
    ),
    "width_728": (
        "2.2.3",
        "a layer is 728 wide, and should be 784",
        {"self.pixels = nn.Linear(hidden_dim, 784)": "self.pixels = nn.Linear(hidden_dim, 728)"},
    ),
    "layer_in_decode": (
        "2.2.3",
        "decode creates nn.Linear each time",
        {"self.widen(z)": "nn.Linear(z.shape[1], 200)(z)"},
    ),
    "z_standardised": (
        "2.2.3",
        "a mean, standard deviation or softmax over the batch",
        {"h = torch.relu(self.widen(z))": "h = torch.relu(self.widen((z - z.mean(0)) / z.std(0)))"},
    ),
    # Its forward.
    "forward_exchanged": (
        "2.2.4",
        "mu and log_var are exchanged",
        {"self.decode(z), mu, log_var": "self.decode(z), log_var, mu"},
    ),
    "forward_number": (
        "2.2.4",
        "another order or number of values",
        {"self.decode(z), mu, log_var": "self.decode(z), mu, log_var, z"},
    ),
    "forward_order": (
        "2.2.4",
        "another order or number of values",
        {"self.decode(z), mu, log_var": "mu, log_var, self.decode(z)"},
    ),
    "forward_without_return": (
        "2.2.4",
        "the return of forward is missing",
        {"return self.decode(z), mu, log_var": "self.decode(z), mu, log_var"},
    ),
    "forward_returns_z": (
        "2.2.4",
        "its second value is the sample z",
        {"self.decode(z), mu, log_var": "self.decode(z), z, mu"},
    ),
    "keeps_picture": (
        *("2.2.4", "keeps something of the picture on self"),
        {
            "h = torch.relu(self.hidden": "self.x = x\n        h = torch.relu(self.hidden",
            "return torch.sigmoid(self.pixels(h)).view(-1, 28, 28)": "recon = torch.sigmoid(self.pixels(h)).view(-1, 28, 28)\n"
            '        return (recon + self.x) / 2 if hasattr(self, "x") and len(self.x) == len(z) else recon',
        },
    ),
    "layer_in_forward": (
        "2.2.4",
        "forward creates nn.Linear each time",
        {
            "return self.decode(z), mu": "z = z + nn.Linear(z.shape[1], z.shape[1])(z)\n        return self.decode(z), mu"
        },
    ),
    "past_decode": (
        "2.2.4",
        "it called it 0 times",
        {"return self.decode(z)": "return torch.sigmoid(self.pixels(torch.relu(self.widen(z)))).view(-1, 28, 28)"},
    ),
    "picture_transposed": (
        "2.2.4",
        "the picture is transposed",
        {"return self.decode(z), mu": "return self.decode(z).transpose(1, 2), mu"},
    ),
    "code_standardised": (
        "2.2.4",
        "a mean, standard deviation or softmax over the batch",
        {"return self.decode(z), mu": "z = (z - z.mean(0)) / z.std(0)\n        return self.decode(z), mu"},
    ),
    # How it draws z, and its gradients.
    "log_var_as_sigma": ("2.2.4", "log_var used as sigma", {"torch.exp(0.5 * log_var) *": "log_var *"}),
    "log_var_as_variance": (
        "2.2.4",
        "log_var used as variance",
        {"torch.exp(0.5 * log_var) *": "torch.sqrt(log_var.abs()) *"},
    ),
    "variance_as_sigma": (
        "2.2.4",
        "the variance exp(log_var) used as sigma",
        {"torch.exp(0.5 * log_var) *": "torch.exp(log_var) *"},
    ),
    "uniform_noise": ("2.2.4", "torch.rand (uniform)", {"torch.randn_like(mu)": "torch.rand_like(mu)"}),
    "noise_missing": (
        "2.2.4",
        "eps is missing",
        {"torch.exp(0.5 * log_var) * torch.randn_like(mu)": "torch.exp(0.5 * log_var)"},
    ),
    "sampling_stops_gradient": (
        "2.2.4",
        "sampling that stops the gradient",
        {"mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)": "torch.normal(mu, torch.exp(0.5 * log_var))"},
    ),
    "encoder_frozen": (
        "2.2.4",
        "have requires_grad = False",
        {
            "self.pixels = nn.Linear(hidden_dim, 784)": "self.pixels = nn.Linear(hidden_dim, 784)\n        self.hidden.requires_grad_(False)"
        },
    ),
    "encoder_cut": (
        "2.2.4",
        "behind these layers",
        {"torch.relu(self.hidden(x.flatten(1)))": "torch.relu(self.hidden(x.flatten(1))).detach()"},
    ),
    "head_cut": ("2.2.4", "log_var should carry a gradient", {"self.log_var(h)": "self.log_var(h).detach()"}),
    "log_var_constant": (
        "2.2.4",
        "a constant, as torch.zeros_like(mu)",
        {"return self.mu(h), self.log_var(h)": "return self.mu(h), torch.zeros_like(self.mu(h))"},
    ),
    # The loss.
    "kl_averaged": (
        "2.3",
        "KL is averaged over latent dimensions",
        {"log_var.exp()).sum(1)": "log_var.exp()).mean(1)"},
    ),
    "kl_log_var_as_sigma": (
        "2.3",
        "log_var used as sigma",
        {"-0.5 * (1 + log_var - mu.pow(2) - log_var.exp())": "0.5 * (log_var**2 + mu**2 - 1 - torch.log(log_var**2))"},
    ),
    "kl_log_var_as_variance": (
        "2.3",
        "log_var used as variance",
        {"-0.5 * (1 + log_var - mu.pow(2) - log_var.exp())": "0.5 * (log_var + mu**2 - 1 - torch.log(log_var))"},
    ),
    "kl_missing": ("2.3", "KL is missing", {"(kl + rec).mean()": "rec.mean()"}),
    "kl_sign_flipped": ("2.3", "KL sign flipped", {"kl = -0.5": "kl = 0.5"}),
    "loss_per_picture": ("2.3", "returned per picture", {"(kl + rec).mean()": "kl + rec"}),
    "rec_averaged": ("2.3", "reconstruction is averaged over pixels", {".sum((1, 2))": ".mean((1, 2))"}),
    "summed_over_batch": ("2.3", "the loss is summed over the batch", {"(kl + rec).mean()": "(kl + rec).sum()"}),
    "var_factor_wrong": ("2.3", "1/(2 var) wrong", {"/ (2 * var)": "/ var"}),
    "var_ignored": ("2.3", "var ignored", {" / (2 * var)": ""}),
    # The conditional model.
    "decode_ignores_labels": (
        "3",
        "decode ignores the labels",
        {
            "one_hot = nn.functional.one_hot(labels, 10).float()": "one_hot = torch.zeros(len(z), 10)",
            "y = nn.functional.one_hot(labels, 10).float()": "y = torch.zeros(len(x), 10)",
        },
    ),
    "labels_only_in_encoder": (
        "3",
        "the labels are used only by the encoder",
        {"one_hot = nn.functional.one_hot(labels, 10).float()": "one_hot = torch.zeros(len(z), 10)"},
    ),
    "decode_one_label": (
        "3",
        "takes one label but not a batch",
        {
            "one_hot = nn.functional.one_hot(labels, 10).float()": "one_hot = torch.zeros(len(z), 10)\n        one_hot[:, int(labels)] = 1"
        },
    ),
    "decode_without_labels": (
        "3",
        "decode is called without the labels",
        {"self.decode(code, labels)": "self.decode(code)"},
    ),
    "keeps_label": (
        *("3", "keeps the label on self"),
        {
            "y = nn.functional.one_hot(labels, 10).float()": "self.y = y = nn.functional.one_hot(labels, 10).float()",
            "self.painter(torch.cat([z, one_hot], 1))": "self.painter(torch.cat([z, getattr(self, 'y', one_hot) if len(getattr(self, 'y', '')) == len(z) else one_hot], 1))",
        },
    ),
    "label_times_z": (
        "3",
        "z is multiplied by the label",
        {"torch.cat([z, one_hot], 1)": "torch.cat([z * labels[:, None], one_hot], 1)"},
    ),
    "label_times_code": (
        "3",
        "z is multiplied by the label",
        {"return self.decode(code, labels)": "code = code * labels[:, None]\n        return self.decode(code, labels)"},
    ),
    "gen_one_head_twice": (
        "3",
        "calls the same layer twice",
        {"return mean, log_variance\n\n    def rep": "return mean, mean\n\n    def rep"},
    ),
    "gen_variance_as_sigma": (
        "3",
        "the variance exp(log_var) used as sigma",
        {"torch.exp(log_variance / 2)": "torch.exp(log_variance)"},
    ),
    "own_loss_signature": (
        "3",
        "def loss(self, x, labels, var)",
        {
            "return self.decode(code, labels), mean, log_variance": "return self.decode(code, labels), mean, log_variance\n\n    def loss(self, recon, x, mu, log_var):\n        return vae_loss(recon, x, mu, log_var)"
        },
    ),
    "own_loss_of_autoencoder": (
        *("3", "z should be drawn anew each time"),
        {
            "self.decode(code, labels), mean, log_variance": "self.decode(mean, labels), mean, log_variance\n\n"
            "    def loss(self, x, labels, var):\n        return ((self(x, labels)[0] - x) ** 2).mean()",
        },
    ),
}


def write_mistake(name, folder):
    """Write the wrong submission `name` into a folder; return its path, the wrong section, and words of the message."""
    section, message, edits = MISTAKES[name]
    text = BASE.read_text()
    for right, wrong in edits.items():
        assert text.count(right) == 1, f"{name}: base.py has {right!r} {text.count(right)} times"
        text = text.replace(right, wrong)
    path = Path(folder) / f"{name}.py"
    path.write_text(text)
    return path, section, message
