"""An honest submission that uses what PyTorch and NumPy offer: convolutions, recurrence, attention, FFT and
linear algebra."""

import io
import threading

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.MaxPool2d(2),
        )
        self.up = nn.ConvTranspose2d(8, 1, 4, 2, 1)
        self.lstm, self.gru = nn.LSTM(28, 16, batch_first=True), nn.GRU(16, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.transformer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embedding, self.norm, self.dropout = nn.Embedding(10, 16), nn.LayerNorm(16), nn.Dropout(0.1)

    def forward(self, x):
        rows, _ = self.gru(self.lstm(x)[0])
        rows = self.norm(self.transformer(self.attention(rows, rows, rows)[0]))
        rows = rows + nn.functional.scaled_dot_product_attention(rows, rows, rows)
        spectrum = torch.fft.irfft2(torch.fft.rfft2(x)).flatten(1)[:, :16]
        maps = nn.functional.interpolate(self.up(self.convolutions(x[:, None])), size=28, mode="bilinear")
        return self.dropout(rows.mean(dim=1)) + spectrum + maps.flatten(1)[:, :16]


def use_everything():
    torch.manual_seed(0)
    block, x = Block(), torch.rand(8, 28, 28)
    optimizers = [torch.optim.Adam(block.parameters()), torch.optim.SGD(block.parameters(), 1e-3, momentum=0.9)]
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizers[0], 1e-3, total_steps=3)
    for optimizer in optimizers:
        with torch.autocast("cpu", torch.bfloat16):
            loss = block(x).square().mean()
        loss.backward()
        optimizer.step()
    scheduler.step()
    with torch.inference_mode():
        block.eval()(x)
    square = torch.rand(32, 32) + 32 * torch.eye(32)
    for function in ("svd", "qr", "eigh", "cholesky_ex", "inv", "det", "matrix_exp", "eig"):
        getattr(torch.linalg, function)(square @ square.T)
    torch.linalg.solve(square, square), torch.linalg.lstsq(square, square), torch.cdist(square, square)
    (
        torch.sparse.mm(square.to_sparse(), square),
        torch.einsum("ij,jk->ik", square, square),
        square.sort(),
        square.topk(3),
    )
    torch.distributions.Normal(0, 1).sample((10,)), torch.multinomial(square, 3), torch.poisson(square)
    torch.func.vmap(torch.func.grad(lambda row: row.square().sum()))(square)
    scripted = torch.jit.script(nn.Linear(3, 3))
    scripted(torch.rand(2, 3))
    quantized = square.half(), square.bfloat16(), square.double(), square.to(torch.int8)
    file = io.BytesIO()
    torch.save({"a": quantized[0], "b": block.state_dict()}, file)
    file.seek(0)
    torch.load(file, weights_only=True)
    array = np.random.default_rng(0).standard_normal((64, 64))
    np.linalg.svd(array), np.linalg.eigh(array @ array.T), np.fft.fft2(array), np.linalg.inv(array), np.sort(array)
    np.save(io.BytesIO(), array), np.einsum("ij,kj->ik", array, array)
    thread = threading.Thread(target=lambda: torch.rand(300, 300) @ torch.rand(300, 300))
    thread.start()
    thread.join()
    large = torch.rand(1500, 1500)
    for _ in range(3):
        large = torch.relu(large @ large / 1500)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 4, shuffle=True)
    return sum(len(batch) for (batch,) in loader)


use_everything()
