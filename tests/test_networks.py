"""The networks of both scales."""

import torch

from benchmarks.presets import PAPER
from fewshot_landmarks.networks import FENETS, ChannelNorm, ResNetFENet, SmallFENet


def test_features_of_all_cells_are_equally_long():
    torch.manual_seed(0)
    features = ChannelNorm()(torch.randn(2, 16, 5, 5))
    torch.testing.assert_close(
        features.square().sum(1), torch.full((2, 5, 5), 16.0), rtol=1e-3, atol=0
    )


def test_small_network():
    features = SmallFENet(channels=16, width=8)(torch.rand(2, 3, 48, 48))
    assert features.shape == (2, 16, 24, 24)


def test_the_papers_network_sees_its_input():
    """From a bad start, ten convolutions would give every image the same features."""
    assert FENETS[PAPER.network] is ResNetFENet and PAPER.network_options == {"channels": 512}
    torch.manual_seed(0)
    fenet = ResNetFENet(channels=64, weights=None).eval()
    with torch.no_grad():
        features = fenet(torch.rand(2, 3, 96, 96))
    assert features.shape == (2, 64, 12, 12)
    lengths = features.square().sum(1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 64.0), rtol=0.02, atol=0)
    cosine = torch.nn.functional.cosine_similarity(features[0], features[1], dim=0)
    assert cosine.mean() < 0.999
    assert not fenet.train().backbone.training  # statistics stay frozen
    kinds = [type(layer).__name__ for layer in (*fenet.convolutions, *fenet.deconvolutions)]
    assert kinds.count("Conv2d") == 10 and kinds.count("ConvTranspose2d") == 2
