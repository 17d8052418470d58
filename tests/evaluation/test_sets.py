"""Scores of sets of pictures, on numbers that can be worked out by hand, and on real instruments."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bench import tiny_host

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation import fid
from diffusers_persona.evaluation.inception import Inception, InceptionFeatures
from diffusers_persona.evaluation.sets import diversity, frechet_distance, perceptual_distance
from diffusers_persona.testing import tiny_pictures


def test_fid_of_shifted_features_is_the_square_of_the_shift():
    real = np.random.default_rng(0).normal(size=(500, 3))
    assert frechet_distance(real + [3, 0, 4], real) == pytest.approx(25)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_fid_of_scaled_features_is_the_difference_of_deviations():
    """Diagonal covariances S and 4 S: Tr(S + 4 S - 2 (4 S^2)^(1/2)) = Tr(S)."""
    real = np.random.default_rng(0).normal(size=(500, 3))
    centred = real - real.mean(axis=0)
    assert frechet_distance(2 * centred, centred) == pytest.approx(np.trace(np.cov(centred, rowvar=False)))


def test_fid_agrees_with_the_matrix_root_on_covariances_that_do_not_commute():
    random = np.random.default_rng(1)
    first, second = random.normal(size=(200, 4)) @ random.normal(size=(4, 4)), random.normal(size=(300, 4)) + 1
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    assert frechet_distance(first, second) == pytest.approx(shift @ shift + np.trace(a + b) - 2 * root)


@pytest.mark.parametrize("generated", [np.zeros((1, 3)), np.zeros((5, 2))])
def test_fid_refuses_what_has_no_covariance(generated):
    with pytest.raises(PersonaError, match="two pictures or more"):
        frechet_distance(generated, np.zeros((5, 3)))


def test_perceptual_distance_is_zero_to_itself_and_two_between_unlike_features():
    x, y = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    assert perceptual_distance([x, x], [x, x]).tolist() == [0.0]
    assert perceptual_distance([x, x], [y, x]).tolist() == pytest.approx([1.0])
    assert perceptual_distance([x], [y]).tolist() == pytest.approx([2.0])


def test_diversity_grows_with_the_difference_of_pictures_and_needs_two():
    instruments, (one, other, _) = tiny_host().instruments, tiny_pictures(3)
    assert diversity(instruments, [[one, one]]) == pytest.approx(0, abs=1e-6)
    assert diversity(instruments, [[one, other]]) > 0
    assert diversity(instruments, [[one, other], [one, one]]) == pytest.approx(
        diversity(instruments, [[one, other]]) / 2, rel=1e-4
    )
    assert diversity(instruments, [[one], [other]]) is None
    assert diversity(object(), [[one, other]]) is None


def test_fid_is_recorded_for_each_recipe_with_what_its_features_are(tmp_path):
    for folder, seed in (("pictures/lora/a/0", 0), ("pictures/base/a/0", 1), ("real", 0)):
        (tmp_path / folder).mkdir(parents=True)
        for i, picture in enumerate(tiny_pictures(3, seed=seed)):
            picture.save(tmp_path / folder / f"{i}.png")
    features, rows = fid.DinoFeatures(tiny_host().instruments), tmp_path / "rows"
    rows.mkdir()
    fid.record(["lora", "base"], tmp_path / "pictures", tmp_path / "real", features, rows)
    found = fid.read(rows)
    assert found["lora"]["fid"] == pytest.approx(0, abs=1e-4) and found["base"]["fid"] > 0
    assert found["lora"]["pictures"] == 3 and found["lora"]["features"] == tiny_host().instruments.models["dino"]
    with pytest.raises(PersonaError, match="nowhere holds 0"):
        fid.record(["lora"], tmp_path / "pictures", tmp_path / "nowhere", features, rows)


def test_a_face_that_is_not_found_is_counted_and_gives_no_identity(monkeypatch):
    from diffusers_persona.evaluation.metrics import Expectation

    host = tiny_host()
    person = host.concepts[1]
    references = [Image.open(path).convert("RGB") for path in person.references]
    monkeypatch.setattr(type(host.instruments), "face_found", lambda self, images: [True, False, True])
    scores = host.scorer(person, [references]).score(references, [Expectation(text="a person")] * 3)
    assert [score["face_found"] for score in scores] == [1.0, 0.0, 1.0]
    assert ["id" in score for score in scores] == [True, False, True]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The network's own random weights with a classifier, as the published file has one."""
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Inception().state_dict()
    torch.save(state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, path)
    return path


def test_inception_has_the_published_number_of_weights():
    """torchvision's inception_v3 has 23,834,568 without its auxiliary head, and its classifier 2,049,000."""
    assert sum(each.numel() for each in Inception().parameters()) == 23_834_568 - 2_049_000


def test_a_file_of_weights_gives_inceptions_features(weights):
    features = InceptionFeatures(weights)
    assert features(tiny_pictures(2)).shape == (2, 2048)
    assert features.name.startswith("Inception inception.pth (sha256 ")


def test_other_weights_and_other_files_are_refused_in_one_line(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    del state["Mixed_6a.branch3x3.conv.weight"]
    torch.save(state, tmp_path / "less.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, message in (("less.pth", "nothing as Mixed_6a.branch3x3.conv.weight"), ("text.pth", "cannot be read")):
        with pytest.raises(PersonaError, match=message) as raised:
            InceptionFeatures(tmp_path / name)
        assert "\n" not in str(raised.value)
