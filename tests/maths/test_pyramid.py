"""Network pyramid: what its place channels say, what is frozen, and what is computed once."""

import copy
import math

import numpy as np
import pytest
import torch

from fewshot_landmarks.networks.memo import Memo
from fewshot_landmarks.networks.pyramid import PLACE, PlacedNorm, PyramidFENet
from fewshot_landmarks.support.errors import UserError

NETWORK = {"channels": 12, "width": 8, "weights": None}


@pytest.fixture(scope="module")
def fenet() -> PyramidFENet:
    torch.manual_seed(0)
    return PyramidFENet(**NETWORK)


def test_features_of_all_cells_are_equally_long_whatever_the_share():
    torch.manual_seed(0)
    norm, looks = PlacedNorm(), torch.randn(2, 12, 5, 7)
    for share in (0.01, 0.5, 0.99):
        norm.share.data = torch.tensor(share).logit()
        features = norm(looks)
        assert features.shape == (2, 12 + PLACE, 5, 7)
        wanted = torch.full((2, 5, 7), 12.0 + PLACE)
        torch.testing.assert_close(features.square().sum(1), wanted, rtol=1e-3, atol=0)
        place = features[:, 12:].square().sum(1)
        torch.testing.assert_close(place, share * wanted, rtol=1e-3, atol=1e-3)


def test_a_detector_on_the_place_channels_is_a_von_mises_density():
    features = PlacedNorm()(torch.randn(1, 12, 6, 6))
    x, y = 2.5 / 6, 4.5 / 6  # of a cell's centre
    cosines = [torch.tensor(math.pi * each) for each in (x, y)]
    detector = torch.zeros(16)
    detector[12:] = torch.stack([f(each) for each in cosines for f in (torch.cos, torch.sin)])
    logits = torch.einsum("c,bchw->bhw", detector, features)[0]
    across = (torch.arange(6) + 0.5) / 6
    wanted = torch.cos(math.pi * (across - x)) + torch.cos(math.pi * (across - y)).unsqueeze(1)
    torch.testing.assert_close(logits / logits.max(), wanted / 2)
    assert divmod(int(logits.argmax()), 6) == (4, 2)


def test_only_the_neck_is_trained_and_kept(fenet):
    images = torch.rand(2, 3, 64, 64)
    fenet(images)[:, ::3].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fenet.parameters())
    frozen = fenet._frozen.network.state_dict()
    assert not any(p.requires_grad for p in fenet._frozen.network.parameters())
    assert sum(p.numel() for p in fenet.parameters()) < sum(t.numel() for t in frozen.values())
    other = copy.deepcopy(fenet)
    assert other._frozen is fenet._frozen and other.head.weight is not fenet.head.weight
    assert fenet.fingerprint != PyramidFENet(**NETWORK, name="tf_efficientnet_lite1").fingerprint


def test_too_few_channels_are_one_line():
    with pytest.raises(UserError, match="4 channels"):
        PyramidFENet(channels=PLACE, weights=None)


def test_a_network_of_coarser_maps_is_one_line():
    with pytest.raises(UserError, match="vit_tiny_patch16_224"):
        PyramidFENet(name="vit_tiny_patch16_224", weights=None)


def test_images_of_the_same_bytes_and_other_shapes_are_told_apart():
    memo = Memo(lambda images: images.shape[2] * images.flatten(1)[:, :5].half() + 1, 2**20)
    wide, high = torch.ones(1, 3, 2, 8), torch.ones(1, 3, 8, 2)
    assert memo(wide)[0, 0] == 3 and memo(high)[0, 0] == 9


def counting(asked: list):
    def compute(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return images.flatten(1)[:, :5].half()

    return compute


def test_each_image_is_computed_once():
    asked, images = [], torch.rand(3, 3, 4, 4)
    memo = Memo(counting(asked), 2**20)
    first = memo(images)
    torch.testing.assert_close(first, images.flatten(1)[:, :5].half())
    assert torch.equal(memo(images[[2, 0, 0]]), first[[2, 0, 0]]) and asked == [1, 1, 1]
    little = Memo(counting(asked), 10)  # one vector
    little(images), little(images)
    assert len(asked) == 3 + 3 + 2


def test_what_is_in_a_file_is_not_computed(tmp_path):
    asked, images = [], torch.rand(40, 3, 4, 4)
    paths = [tmp_path / "0.npy", tmp_path / "1.npy", tmp_path / "none.npy"]
    writer = Memo(counting(asked), 0)
    writer.write(paths[0], images[:20])
    writer.write(paths[1], images[20:39])
    writer.write(paths[2], images[:0])
    assert sum(asked) == 39 and len(asked) == 4
    reader = Memo(counting(asked), 2**20)
    reader.read(paths)
    assert torch.equal(reader(images), images.flatten(1)[:, :5].half()) and sum(asked) == 40
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(ValueError, match="other.npy"):
        reader.read([tmp_path / "other.npy"])
