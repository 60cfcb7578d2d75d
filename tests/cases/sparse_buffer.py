"""Messages along the edges of a fixed graph: who hears whom is a sparse matrix."""

import torch
from harness import Input, Model
from torch import nn


class Messages(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        edges = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 0, 1]])
        self.register_buffer("adjacency", torch.sparse_coo_tensor(edges, torch.ones(5), (4, 4)).coalesce())
        self.update = nn.Linear(6, 6)

    def forward(self, nodes):
        return torch.relu(self.update(torch.sparse.mm(self.adjacency, nodes)))


model = Model(build=lambda: Messages().eval(), inputs=[Input("nodes", (4, 6), "float32", -1.0, 1.0)])
